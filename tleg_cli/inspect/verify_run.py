"""Checks a run folder: config, record, metrics, every checkpoint's hashes, and results that load with finite values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tleg_cli import plugin_manager
from tleg_cli.config_file import load_config
from tleg_cli.errors import FileFormatError, TlegError, one_line
from tleg_cli.files import file_hash, open_regular
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.descendant import descendant_folder
from tleg_cli.models.model_file import network_of, read_card, read_weights
from tleg_cli.models.timm_config import BESIDE, timm_config
from tleg_cli.models.timm_config import NAME as CONFIG
from tleg_cli.training.checkpoint import STATE, check_checkpoint
from tleg_cli.training.health import bad_files
from tleg_cli.training.lock import is_running

INTACT, BROKEN, NOTE = "intact", "broken", "note"
_CONTINUE = "not finished; run the same command again to continue"


@dataclass(frozen=True)
class Finding:
    """One part of a run folder. state: intact, broken, or note for what is worth knowing but not damage."""

    part: str
    state: str
    what: str


def verify_run(path: Path) -> list[Finding]:
    """Every part of a run, or of a family and the runs in it. Raises FileFormatError for a folder that is neither."""
    members = sorted(folder for folder in path.glob("depth-*") if folder.is_dir())
    own = (path / "run.json").exists() or (path / "checkpoints").exists()
    if not own and not members:
        raise FileFormatError(f"{path} is not a run folder: it has neither run.json nor depth-* folders")
    found = list(_run(path)) if own else list(_family(path, members))
    for folder in members:
        found += [
            Finding(f"{folder.name}/{finding.part}", finding.state, finding.what) for finding in verify_run(folder)
        ]
    return found


def broken(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are damage."""
    return [finding for finding in findings if finding.state == BROKEN]


def _run(path: Path) -> Iterator[Finding]:
    if is_running(path):
        yield Finding(".lock", NOTE, "a run is writing here now")
    yield _checked("config.yaml", lambda: f"config of {load_config(str(path / 'config.yaml')).backbone.name}")
    yield _checked("run.json", lambda: f"a run of `tleg {_text(_object(path / 'run.json'), 'command')}`")
    yield from _metrics(path)
    yield from _checkpoints(path / "checkpoints")
    yield from _results(path)
    for file in bad_files(path):
        yield Finding(file.name, NOTE, "a loss or gradient was not finite in this step")


def _family(path: Path, members: Sequence[Path]) -> Iterator[Finding]:
    """Every descendant that the summary lists must have its folder."""

    def described() -> str:
        listed = _object(path / "summary.json")["descendants"]
        depths = [_text(one, "depth") for one in listed]
        folders = {folder.name for folder in members}
        missing = [depth for depth in depths if descendant_folder(parse_depths(depth)[0]) not in folders]
        if missing:
            raise FileFormatError(f"it lists depth {', '.join(missing)}, whose folder is missing; train it again")
        return f"descendants of depth {', '.join(depths)}"

    if (path / "summary.json").exists():
        yield _checked("summary.json", described)
    else:
        yield Finding("summary.json", NOTE, _CONTINUE)


def _checked(part: str, look: Callable[[], str]) -> Finding:
    """What `look` reports about a part, or why it could not be read."""
    try:
        return Finding(part, INTACT, look())
    except KeyError as error:
        return Finding(part, BROKEN, f"{error} is missing")
    except FileNotFoundError:
        return Finding(part, BROKEN, "the file is missing")
    except (TlegError, OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return Finding(part, BROKEN, one_line(error)[:300])


def _object(path: Path) -> dict[str, Any]:
    """A JSON object. A FIFO or a device is refused: it might never end."""
    content = json.loads(_read_text(path))
    if not isinstance(content, dict):
        raise FileFormatError("it is not a JSON object, as tleg writes it")
    return content


def _read_text(path: Path) -> str:
    with open_regular(path) as file:
        return file.read().decode()


def _text(values: Mapping[str, Any], key: str) -> str:
    if not isinstance(values[key], str):
        raise FileFormatError(f"{key} is {json.dumps(values[key])[:100]}, not a text")
    return str(values[key])


def _metrics(path: Path) -> Iterator[Finding]:
    """A line for each epoch, in order and without gaps."""
    file = path / "metrics.jsonl"
    if not file.exists():
        yield Finding(file.name, NOTE, "no epoch is finished")
        return

    def epochs() -> str:
        records = [json.loads(line) for line in _read_text(file).splitlines()]
        numbers = [int(record["epoch"]) for record in records if record.get("kind", "epoch") == "epoch"]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise FileFormatError(f"epochs {numbers} are not in order")
        return f"epochs up to {numbers[-1]}" if numbers else "no epoch yet"

    yield _checked(file.name, epochs)


def _checkpoints(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("step-*")):
        problem = check_checkpoint(path)
        if problem is None:
            yield _checked(f"checkpoints/{path.name}", lambda path=path: _tensors(path))  # type: ignore[misc]
        else:
            yield Finding(f"checkpoints/{path.name}", BROKEN, problem)
    for path in sorted(folder.glob(".step-*.tmp")):
        yield Finding(
            f"checkpoints/{path.name}", NOTE, "left by a run that was killed while it saved; the next run removes it"
        )


def _tensors(path: Path) -> str:
    step = _object(path / STATE)["step"]
    for file in sorted(path.glob("*.safetensors")):
        read_weights(file)
    return f"step {step}"


def _results(path: Path) -> Iterator[Finding]:
    """What summary.json names: its hash, and whether it loads. Without a summary the run is not finished."""
    if not (path / "summary.json").exists():
        yield Finding("summary.json", NOTE, _CONTINUE)
        return
    named: dict[str, str | None] = {}

    def described() -> str:
        summary = _object(path / "summary.json")
        named.update(_named_results(summary))
        return f"{_text(summary, 'kind')}, file {_text(summary, 'file')}"

    yield _checked("summary.json", described)
    for name, expected in named.items():
        file = path / Path(name).name
        found = _checked(name, lambda file=file, expected=expected: _result(file, expected))  # type: ignore[misc]
        yield found
        if file.name in BESIDE and found.state == INTACT:
            yield _timm_config(file)


def _timm_config(weights: Path) -> Finding:
    """Whether config.json next to a network still describes it; what users add to it is theirs."""
    file = weights.with_name(CONFIG)
    if not file.exists() and not file.is_symlink():
        what = f"timm's `local-dir:` and the Hugging Face Hub need it next to {weights.name}; older versions wrote none"
        return Finding(CONFIG, NOTE, what)

    def described() -> str:
        card, found = read_card(weights), _object(file)
        assert card is not None
        wanted = json.loads(json.dumps(timm_config(card.timm, card.input, card.classes, card.class_names)))
        other = [
            key
            for key in ("architecture", "num_classes", "model_args", "label_names")
            if found.get(key) != wanted.get(key)
        ]
        kept = found.get("pretrained_cfg")
        sizes = {key: wanted["pretrained_cfg"][key] for key in ("input_size", "mean", "std", "crop_pct")}
        other += [
            f"pretrained_cfg.{key}"
            for key, value in sizes.items()
            if not isinstance(kept, Mapping) or kept.get(key) != value
        ]
        if other:
            raise FileFormatError(
                f"{', '.join(other)} is not that of {weights.name}; timm would build or feed another network"
            )
        return f"describes {weights.name} to timm"

    return _checked(CONFIG, described)


def _named_results(summary: Mapping[str, Any]) -> dict[str, str | None]:
    """Files and their hashes; runs of older versions recorded one file without a hash."""
    hashes = summary.get("sha256", {})
    if not isinstance(hashes, Mapping):
        raise FileFormatError(f"sha256 is {json.dumps(hashes)[:100]}, not a hash for each file")
    return {_text(summary, "file"): None} | {name: _text(hashes, name) for name in hashes}


def _result(file: Path, expected: str | None) -> str:
    """Raises FileFormatError for a file that is missing, has changed, does not load, or has NaN or infinity."""
    if not file.exists():
        raise FileFormatError(f"{file.name} is missing; restore it, or delete the folder and train again")
    if expected is not None and file_hash(file) != expected:
        raise FileFormatError(
            f"{file.name} has changed since it was written; restore it, or delete the folder and train again"
        )
    card = read_card(file) if file.suffix == ".safetensors" and file.name != "learngene.safetensors" else None
    if card is not None:
        weights = read_weights(file)
        network_of(card, weights, str(file))
        what = f"{card.kind} {card.timm.name}"
    else:
        gene = read_learngene(file, plugin_manager.bases())
        weights = {**gene.theta, **gene.shared}
        what = f"learngene of {gene.metadata.backbone}"
    bad = [name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise FileFormatError(f"{len(bad)} weights are not finite: {', '.join(bad[:3])}")
    return what
