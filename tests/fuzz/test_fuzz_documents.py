"""Documents that tleg wrote, changed by type: cards, headers of learngenes, sidecars, records of runs and checkpoints.

Each is fed to the real commands. They succeed or refuse in one line, within seconds, without a traceback or a raw escape.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.fuzz.hostile import A_FEW, MANY, Target, feed
from tests.fuzz.mutate import as_json, mutated
from tests.tiny import as_options
from tleg_cli import cli
from tleg_cli.files import file_hash
from tleg_cli.learngene.file import write_learngene
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import write_model
from tleg_cli.weights.read_header import read_header

TRAIN = [
    "--preset",
    "digits",
    "--data",
    "digits",
    "--device",
    "cpu",
    *as_options("aux.epochs=1", "teacher.recipe.epochs=1"),
]


class Screen:
    """What the commands print, in memory: it must be fit for a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        text.encode()  # a terminal couldn't show it otherwise
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def tleg(*arguments: object) -> None:
    """Runs a command in this process: exit 0, or 1 and one line."""
    out, err = Screen(), Screen()
    before = sys.argv, sys.stdout, sys.stderr
    sys.argv, sys.stdout, sys.stderr = ["tleg", *map(str, arguments)], out, err  # type: ignore[assignment]
    try:
        cli.main()
        code: Any = 0
    except SystemExit as left:
        code = left.code or 0
    finally:
        sys.argv, sys.stdout, sys.stderr = before
    assert code in (0, 1), (arguments[:1], code, err.text[-500:])
    assert "\x1b" not in out.text + err.text, (arguments[:1], "a raw escape")
    errors = [line for line in err.text.splitlines() if line.startswith("error: ")]
    assert len(errors) == code, (arguments[:1], err.text[-1000:])
    assert all(len(line) < 3000 for line in errors)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished teacher, an aux net and two families, and a prepared dataset, each made once by the commands."""
    root = tmp_path_factory.mktemp("documents")
    tleg("train-teacher", *TRAIN, "--out", root / "teacher")
    tleg("train-aux", *TRAIN, "--teacher", root / "teacher" / "teacher.safetensors", "--out", root / "aux")
    for name in ("learngene", "scratch"):
        given = ["--learngene", root / "aux" / "learngene.pt"] if name == "learngene" else ["--init", "scratch"]
        tleg("train-des", *TRAIN, "--set", "descendant.epochs=1", *given, "--depth", "2", "--out", root / name)
    return root


@pytest.fixture
def target(request: pytest.FixtureRequest, folder: Path, gene: Any, runs: Path) -> Target:
    return TARGETS[request.param](folder, gene, runs)


def _documents(document: Any) -> st.SearchStrategy[bytes]:
    return st.tuples(mutated(document), st.booleans()).map(lambda pair: as_json(pair[0], twice=pair[1]))


def card(folder: Path, gene: Any, runs: Path) -> Target:
    file = folder / "card.safetensors"
    write_model(
        file, expanded_model(gene, (2,), 10).state_dict(), descendant_card(gene, (2,), 10, None, 0.9, training={})
    )
    header, weights = dict(read_header(file).tleg), load_file(file)

    def check(text: bytes) -> None:
        save_file(weights, file, metadata={"format": "pt", "tleg": text.decode()})
        tleg("inspect", file)
        tleg("fit", file, folder / "fitted.pt", "--force")
        tleg("evaluate", file, "--data", "digits", "--device", "cpu")

    return check, _documents(header)


def learngene_header(folder: Path, gene: Any, runs: Path) -> Target:
    file = folder / "header.safetensors"
    write_learngene(gene, file)
    header, weights = dict(read_header(file).tleg), load_file(file)

    def check(text: bytes) -> None:
        save_file(weights, file, metadata={"tleg": text.decode()})
        tleg("inspect", file)
        tleg("expand", file, "--depth", 2, "--out", folder / "grown.safetensors", "--force")
        tleg("evaluate", file, "--depth", 2, "--data", "digits", "--device", "cpu")

    return check, _documents(header)


def learngene_pickle(folder: Path, gene: Any, runs: Path) -> Target:
    """The same as a .pt, whose values a pickle holds as they are."""
    file = folder / "pickled.pt"
    write_learngene(gene, file)
    content = torch.load(file, weights_only=True)
    parts = {part: content.pop(part) for part in ("theta", "shared")}

    def check(changed: Any) -> None:
        torch.save({**changed, **parts} if isinstance(changed, dict) else changed, file)
        tleg("inspect", file, "--json")
        tleg("expand", file, "--depth", 2, "--out", folder / "grown.safetensors", "--force")

    return check, mutated(content)


def _one_file(original: Path, copy: Path, name: str, commands: Callable[[Path], Iterator[list[object]]]) -> Target:
    """Feeds commands with a copy of a run folder in which one JSON file is changed."""
    if not copy.exists():
        shutil.copytree(original, copy)
    whole = (original / name).read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()] if name.endswith(".jsonl") else None

    def check(text: bytes) -> None:
        (copy / name).write_bytes(text)
        for command in commands(copy):
            tleg(*command)

    if lines is None:
        return check, _documents(json.loads(whole))
    return check, mutated(lines).map(
        lambda all_: b"".join(as_json(one) + b"\n" for one in all_) if isinstance(all_, list) else as_json(all_)
    )


def _verify_and_compare(copy: Path) -> Iterator[list[object]]:
    yield ["verify", copy]
    yield ["compare", "--aux", copy, "--depth", "1", "--out", copy.parent / "compared"]
    yield ["report", copy]


def run_record(folder: Path, gene: Any, runs: Path) -> Target:
    return _one_file(runs / "aux", folder / "run-record", "run.json", _verify_and_compare)


def summary(folder: Path, gene: Any, runs: Path) -> Target:
    return _one_file(runs / "aux", folder / "summary", "summary.json", _verify_and_compare)


def metrics(folder: Path, gene: Any, runs: Path) -> Target:
    return _one_file(
        runs / "scratch" / "depth-02",
        folder / "metrics",
        "metrics.jsonl",
        lambda copy: iter([["verify", copy], ["report", copy]]),
    )


def resumed(folder: Path, gene: Any, runs: Path) -> Target:
    """The same command again, on a folder whose record or summary was changed."""
    copy = folder / "resumed"
    originals = {
        name: json.loads((runs / "teacher" / name).read_bytes()) for name in ("run.json", "summary.json", "plan.json")
    }

    def check(change: tuple[str, bytes]) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(runs / "teacher", copy)
        name, text = change
        (copy / name).write_bytes(text)
        tleg("train-teacher", *TRAIN, "--out", copy)

    return check, st.sampled_from(sorted(originals)).flatmap(
        lambda name: st.tuples(st.just(name), _documents(originals[name]))
    )


def checkpoint(folder: Path, gene: Any, runs: Path) -> Target:
    """The state of the newest checkpoint, with hashes that fit, and the same command again."""
    copy = folder / "checkpoint"
    newest = sorted((runs / "teacher" / "checkpoints").glob("step-*"))[-1]
    originals = {name: json.loads((newest / name).read_bytes()) for name in ("state.json", "manifest.json")}

    def check(change: tuple[str, bytes]) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(runs / "teacher", copy)
        (copy / "summary.json").unlink()
        step = copy / "checkpoints" / newest.name
        name, text = change
        (step / name).write_bytes(text)
        if name == "state.json":
            hashes = {file.name: file_hash(file) for file in step.iterdir() if file.name != "manifest.json"}
            (step / "manifest.json").write_text(json.dumps({**originals["manifest.json"], "sha256": hashes}))
        tleg("verify", copy)
        tleg("train-teacher", *TRAIN, "--out", copy)

    return check, st.sampled_from(sorted(originals)).flatmap(
        lambda name: st.tuples(st.just(name), _documents(originals[name]))
    )


TARGETS: dict[str, Callable[[Path, Any, Path], Target]] = {
    maker.__name__: maker
    for maker in (card, learngene_header, learngene_pickle, run_record, summary, metrics, resumed, checkpoint)
}


@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_a_few_changed_documents(target):
    feed(*target, A_FEW // 3)  # each runs commands


@pytest.mark.slow
@pytest.mark.timeout(100_000 if MANY > 1000 else 300)
@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_many_changed_documents(target):
    feed(*target, MANY // 8)
