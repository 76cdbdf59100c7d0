"""`tleg lab` as a user runs it: real trainings of seconds."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tleg_cli.cli import app
from tleg_cli.lab.protocol import load_protocol, protocol_names
from tleg_cli.learngene.depths import format_depth

RUN = CliRunner()
METHODS = """
import torch
from tleg_cli.api import Initialiser, expand, hookimpl

def raises(source, depth):
    raise ValueError("no such weights")

def shapes(source, depth):
    return {**expand(source, depth), "head.weight": torch.zeros(2)}

def nothing(source, depth):
    return None

def not_finite(source, depth):
    weights = expand(source, depth)
    return {**weights, "head.bias": weights["head.bias"] * float("nan")}

@hookimpl
def tleg_initialisers():
    bad = {"raises": raises, "shapes": shapes, "nothing": nothing, "nan": not_finite}
    for name, grow in {"good": expand, "also-good": expand, **bad}.items():
        yield Initialiser(name, "for a test", grow=grow, basis="linear", share=1.0)
"""


def lab(*words, code=0):
    done = RUN.invoke(app, ["lab", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        assert code == 1, done.exception
        return str(done.exception)
    assert done.exit_code == code, done.output
    return done.stdout


def without_seconds(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "results.jsonl").open()]
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in rows]


def test_what_goes_wrong_in_one_method_is_recorded_and_the_others_go_on(publish, protocol, tmp_path):
    publish(METHODS)
    out, names = tmp_path / "out", ["raises", "shapes", "nothing", "nan", "good", "also-good"]
    file = protocol(names)
    error = lab(file, "--out", out, "--device", "cpu", code=1)
    assert "8 of 12 cells failed, the first raises depth 2 seed 0: ValueError: no such weights" in error
    rows = {(row["method"], row["depth"]): row for row in without_seconds(out)}
    assert {method for (method, _), row in rows.items() if row["status"] == "failed"} == set(names[:4])
    assert "method shapes: head.weight has shape (2,)" in rows["shapes", "2"]["error"]
    assert "method nothing returned NoneType" in rows["nothing", "4"]["error"]
    assert "head.bias" in rows["nan", "2"]["error"]
    assert rows["good", "4"]["top1"] == rows["also-good", "4"]["top1"]  # two names of one method
    assert len(list((out / "sources").iterdir())) == 1  # trained once for all of them
    # run again, what is finished stays, and what failed is tried again
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*good/*/*/result.json")}
    document = json.loads(lab(file, "--out", out, "--only", "method=good,also-good", "--device", "cpu", "--json"))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert [line["failed"] for line in document["lines"]] == [0, 0, 2, 2, 2, 2]
    assert {file.suffix for file in out.glob("results.*")} == {".jsonl", ".csv", ".tex", ".html"}
    assert "raises at depth 2, seed 0: ValueError: no such weights" in (out / "results.html").read_text()


def test_another_protocol_in_the_folder_is_refused_with_the_differences(protocol, tmp_path):
    out = tmp_path / "out"
    lab(protocol(["distilled"]), "--out", out, "--only", "depth=2", "--device", "cpu")
    error = lab(protocol(["distilled"], budget=30), "--out", out, code=1)
    assert (
        f"{out} holds another comparison (protocol.budget: 18.0 -> 30.0); choose another --out, or keep the rows"
        in error
    )
    assert error.endswith("--allow-changed protocol")
    changed = protocol(["distilled"], recipes={"distilled": {"target": {"lr": 0.1}}})
    assert "distilled.recipe.target" in lab(changed, "--out", out, code=1)
    other = protocol(["distilled"], plus=["augmentation.flip=0.5"])
    assert "choose another --out" in (error := lab(other, "--out", out, "--allow-changed", "config", code=1))
    assert error.endswith("choose another --out")
    assert "has no results; leave out --report" in lab(other, "--out", tmp_path / "none", "--report", code=1)


def test_rows_of_an_older_version_are_kept_and_those_of_a_changed_recipe_are_made_again(protocol, tmp_path):
    out, words = tmp_path / "out", ("--only", "depth=2", "--device", "cpu")
    file = protocol(["distilled", "scratch"])
    lab(file, "--out", out, *words)
    first = without_seconds(out)
    record = json.loads((out / "protocol.json").read_text())
    del record["config"]["aux"]["patience"]  # as if this version had added it
    (out / "protocol.json").write_text(json.dumps({**record, "tleg": "0.0.9"}))
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*/*/*/result.json")}
    done = RUN.invoke(app, ["lab", str(file), "--out", str(out), "--report"])
    assert f"note: {out} has results of tleg 0.0.9; they are kept" in done.stderr
    assert without_seconds(out) == first
    changed = protocol(["distilled", "scratch"], recipes={"scratch": {"target": {"lr": 0.1}}})
    assert "methods.scratch.recipe.target" in lab(changed, "--out", out, code=1)
    lab(changed, "--out", out, "--report", "--allow-changed", "methods.scratch")
    assert [row["method"] for row in without_seconds(out)] == [
        "distilled"
    ]  # the other one is not a result of this recipe
    lab(changed, "--out", out, *words)
    assert without_seconds(out)[0] == first[0]
    again = without_seconds(out)[1]
    assert again["made_by"] != first[1]["made_by"]
    assert again["epochs"] != first[1]["epochs"]
    distilled = next(path for path in before if "distilled" in str(path))
    assert distilled.stat().st_mtime_ns == before[distilled]


def test_rows_without_a_digest_are_set_aside_if_a_change_decides_them(protocol, tmp_path):
    out = tmp_path / "out"
    lab(protocol(["distilled"]), "--out", out, "--only", "depth=2", "--device", "cpu")
    (file,) = (out / "cells").glob("*/*/*/result.json")
    row = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in row.items() if key not in ("made_by", "tleg")}))
    lab(protocol(["distilled"]), "--out", out, "--report")
    assert len(without_seconds(out)) == 1
    lab(protocol(["distilled"], budget=30), "--out", out, "--report", "--allow-changed", "protocol")
    assert without_seconds(out) == []
    assert file.with_name("old-result.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "method=tlge"], "method 'tlge' is not in the protocol. Did you mean 'tleg'?"),
        (["--only", "depth=5"], "depth '5' is not in the protocol. Known: 2, 4."),
        (["--only", "tleg"], "write method=A,B or depth=3,6"),
        (["--seeds", "3-1"], "write numbers from 0, as in 0-4 or 0,3"),
        (["--seeds", "1,1"], "names a seed twice"),
    ],
)
def test_what_is_not_in_the_protocol_is_refused(protocol, tmp_path, words, message):
    assert message in lab(protocol(["tleg"]), "--out", tmp_path / "out", *words, code=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ["tlge"]}, "method 'tlge' is unknown. Did you mean 'tleg'?"),
        ({"budgte": 3}, "unknown key budgte. Did you mean 'budget'?"),
        ({"depths": "2,,4"}, "a depth is missing"),
        ({"seeds": [1, 1]}, "each of them once"),
        ({"recipes": {"scratch": {}}}, "recipes.scratch is for a method that the protocol doesn't name"),
        ({"recipes": {"tleg": {"target": {"lrr": 1}}}}, "method tleg: settings: unknown key aux.lrr"),
    ],
)
def test_mistakes_of_a_protocol_are_named(protocol, values, message):
    file = protocol(["tleg"])
    file = protocol(**{"methods": ["tleg"], **values})
    assert message in lab(file, "--dry-run", code=1)


def test_the_list_the_costs_and_the_commands(protocol, tmp_path):
    assert "arxiv.org/abs/2312.05614" in lab("--list")
    file = protocol(["tleg", "distilled"], seeds=[0, 1])
    assert "8 cells; a family may cost 4,680 block-images" in lab(file, "--dry-run")
    costs = json.loads(lab(file, "--dry-run", "--json", "--seeds", "0", "--only", "method=tleg"))
    spent = costs["cells"][0]["source_block_images"] + sum(cell["block_images"] for cell in costs["cells"])
    assert 4680 - 3 * 64 * 4 < spent <= costs["budget"] == 4680
    words = ("--out", tmp_path / "out", "--print-commands", "--only", "depth=4", "--set", "aux.lr=1e-3")
    commands = lab(file, *words).splitlines()
    assert len(commands) == 4
    assert shlex.split(commands[1])[:4] == ["tleg", "lab", str(file), "--only"]
    assert commands[1].endswith(f"--out {tmp_path / 'out'} --seeds 1")
    assert "--only method=tleg --only depth=4 --set aux.lr=1e-3" in commands[1]


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_can_be_counted_without_its_data(name):
    """Images that aren't there are counted as the protocol says; nothing is downloaded."""
    depth = format_depth(load_protocol(name).family[0])
    done = RUN.invoke(
        app, ["lab", name, "--dry-run", "--seeds", "0", "--only", "method=tleg", "--only", f"depth={depth}", "--json"]
    )
    assert done.exit_code == 0, done.exception
    budget, images = json.loads(done.stdout)["budget"], load_protocol(name).images or 1297
    assert budget == load_protocol(name).budget * images
    assert ("may have to be downloaded; costs are counted for 50,000" in done.stderr) == (name == "cifar100")


def test_data_that_is_not_there_is_an_error_where_it_is_needed(tmp_path):
    assert "no folder /nowhere" in lab("fashion", "--set", "data.path=/nowhere", "--out", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist5k", "fashion"])
def test_the_small_protocols_run_on_a_few_of_their_images(name, tmp_path):
    values = load_protocol(name).model_dump(mode="json")
    data = next((one.partition("=")[2] for one in values["settings"] if one.startswith("data.path=")), name)
    if not Path(folder := f"/{data.partition('//')[2]}").exists():
        pytest.skip(f"{folder} is not installed")
    source = re.sub(r"^first/[0-9:]+/", "", data)
    few = [f"data.path=first/30:10/{source}", "teacher.recipe.epochs=1", "aux.allow_bad_teacher=true"]
    values |= {"settings": [*values["settings"], *few], "budget": 60, "images": None}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(values))
    words = ("--only", "method=tleg", "--only", "depth=3", "--seeds", "0", "--device", "cpu")
    lab(tmp_path / "few.yaml", "--out", tmp_path / "out", *words)
    (row,) = without_seconds(tmp_path / "out")
    assert (row["method"], row["depth"], row["status"]) == ("tleg", "3", "done")


@pytest.mark.slow
def test_killed_at_any_moment_and_in_two_processes_the_rows_are_the_same(protocol, tmp_path):
    import random
    import subprocess
    import time

    file = protocol(["tleg", "any-depth-linear"], budget=30)
    lab(file, "--out", tmp_path / "whole", "--device", "cpu")
    words = [sys.executable, "-m", "tleg_cli", "lab", str(file), "--out", str(tmp_path / "killed"), "--device", "cpu"]
    draw = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(2.5, 6))
        process.kill()
        process.wait()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "whole")
    subprocess.run([*words[:-3], str(tmp_path / "both"), "--device", "cpu", "--jobs", "2"], check=True)
    assert without_seconds(tmp_path / "both") == without_seconds(tmp_path / "whole")


@pytest.mark.slow
def test_the_printed_commands_give_the_same_rows(protocol, tmp_path):
    file = protocol(["tleg", "distilled"])
    lab(file, "--out", tmp_path / "whole", "--device", "cpu")
    for line in lab(file, "--out", tmp_path / "apart", "--device", "cpu", "--print-commands").splitlines():
        words = shlex.split(line)
        assert words[:2] == ["tleg", "lab"]
        lab(*words[2:])
    assert without_seconds(tmp_path / "apart") == without_seconds(tmp_path / "whole")


WRONG = """
import torch
from tleg_cli.api import Initialiser, hookimpl, mix_blocks

def even(blocks, trained):
    return torch.eye(trained)[torch.linspace(0, trained - 1, blocks).round().long()]

def right(source, depth):
    return mix_blocks(source, depth, even)

def permuted(source, depth):
    return mix_blocks(source, depth, lambda blocks, trained: even(blocks, trained).flip(0))

@hookimpl
def tleg_initialisers():
    for name, grow in (("permuted", permuted), ("right", right), ("right-again", right)):
        yield Initialiser(name, "for a test", grow=grow, trained_at="deepest", share=1.0, teacher=False)
"""


@pytest.mark.slow
def test_permuted_blocks_are_last_and_two_names_tie(publish, protocol, tmp_path):
    publish(WRONG)
    names = ["permuted", "right", "right-again"]
    file = protocol(names, depths="3,4", seeds=[0, 1, 2], budget=100, plus=["data.path=digits", "aux.lr=5e-3"])
    found = json.loads(lab(file, "--out", tmp_path / "out", "--device", "cpu", "--json"))["lines"]
    assert {line["method"]: line["rank"] for line in found} == {"right": 1, "right-again": 1, "permuted": 3}


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_continues(protocol, tmp_path):
    from tests.cli.test_full_disk import fill, mounted

    file = protocol(["distilled"], budget=30)
    with mounted(tmp_path / "disk", 4096) as disk:
        for leave in (0, 100_000, 400_000):
            filler = fill(disk, leave=leave)
            error = lab(file, "--out", disk / "out", "--device", "cpu", code=1)
            assert "No space left" in error
            assert "\n" not in error
            filler.unlink()
        lab(file, "--out", disk / "out", "--device", "cpu")
        assert [row["status"] for row in without_seconds(disk / "out")] == ["done", "done"]
