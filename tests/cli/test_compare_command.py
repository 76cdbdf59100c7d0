"""`tleg compare` accepts runs that belong together, and names what is wrong with all others."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Made, in_its_own_process
from tests.tiny import as_options

ANY = ("aux.depth=2-4", "expansion.positions=ends", "expansion.step=1")
ALONE = ("aux.depth=2", "basis=piecewise:2")


@pytest.fixture(scope="session")
def runs(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An any-depth learngene, one as published, and a separate network of two blocks, of one epoch each."""
    root = tmp_path_factory.mktemp("compared")
    common = ["--preset", "digits", "--data", "digits", "--device", "cpu", "--teacher", made.teacher]
    for name, settings in (("aux", ANY), ("separate", ALONE)):
        done = in_its_own_process("train-aux", *common, *as_options("aux.epochs=1", *settings), "--out", root / name)
        assert done.code == 0, done.err
    return {"aux": root / "aux", "tleg": made.learngene.parent, "separate": root / "separate"}


@pytest.fixture
def compare(tleg, tmp_path):
    def run(folders: dict[str, Path], *options: object):
        named = [word for name, folder in folders.items() for word in (f"--{name}", folder)]
        return tleg("compare", *named, "--out", tmp_path / "v1.5", "--depth", "2-4", "--device", "cpu", *options)

    return run


def test_runs_that_belong_together(tleg, compare, runs, tmp_path):
    done = compare(runs, "--seconds", 7, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert found == json.loads((tmp_path / "v1.5" / "summary.json").read_text())
    assert (found["aux"]["depths"], found["seconds"]) == ("2-4", 7)
    assert [one["depth"] for one in found["depths"]] == [2, 3, 4]
    scores = {
        name: tleg("evaluate", runs[name] / "learngene.pt", "--data", "digits", "--depth", "2-4", "--json").json()
        for name in ("aux", "tleg")
    }
    for at, one in enumerate(found["depths"]):
        assert one["untrained_top1"] == pytest.approx(scores["aux"]["depths"][at]["top1"], abs=0.01)
        assert one["tleg_untrained_top1"] == pytest.approx(scores["tleg"]["depths"][at]["top1"], abs=0.01)
    alone = json.loads((runs["separate"] / "summary.json").read_text())
    assert [one["separate_top1"] for one in found["depths"]] == [alone["final_top1"], None, None]
    assert [one["separate_epochs"] for one in found["depths"]] == [1, None, None]
    # 5 steps of 256 images: an average of 3 blocks, 3 blocks, 2 blocks
    assert [found["costs"][name]["block_images"] for name in ("aux", "tleg", "separate")] == [3840, 3840, 2560]
    assert (tmp_path / "v1.5" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_learngene_alone_is_shown_as_a_table(compare, runs):
    done = compare({"aux": runs["aux"]})
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[2:5]] == ["2", "3", "4"]
    assert "any depth" in done.out
    assert "TLEG" not in done.out


def changed(folder: Path, to: Path, name: str, **values: object) -> Path:
    """A copy of a run in which one document differs."""
    shutil.copytree(folder, to)
    document = json.loads((to / name).read_text())
    (to / name).write_text(json.dumps({**document, **values}))
    return to


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda runs, to: {**runs, "tleg": runs["aux"]}, "was not trained as TLEG was published"),
        (lambda runs, to: {**runs, "separate": runs["tleg"]}, "--set basis=piecewise:3"),
        (lambda runs, to: {**runs, "aux": runs["aux"].parent}, "does not hold a finished run"),
        (lambda runs, to: {**runs, "aux": changed(runs["aux"], to, "summary.json", kind="teacher")}, "tleg train-teacher"),
        (lambda runs, to: {**runs, "tleg": changed(runs["tleg"], to, "run.json", classes=["a"])}, "another classes"),
        (lambda runs, to: {**runs, "tleg": changed(runs["tleg"], to, "run.json", teacher={"sha256": "b"})}, "another teacher"),
        (lambda runs, to: {**runs, "tleg": changed(runs["tleg"], to, "run.json", images={})}, "another training images"),
        (lambda runs, to: {**runs, "aux": changed(runs["aux"], to, "summary.json", plan={"epochs": "x"})}, "epochs is"),
        (lambda runs, to: {**runs, "aux": changed(runs["aux"], to, "summary.json", learngene_parameters=-1)}, "never writes"),
        (lambda runs, to: {**runs, "separate": changed(runs["separate"], to, "summary.json", final_top1="x")}, "final_top1"),
    ],
)  # fmt: skip
def test_runs_that_do_not_belong_together(compare, runs, tmp_path, change, words):
    done = compare(change(runs, tmp_path / "changed"))
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert words in done.err
    assert not (tmp_path / "v1.5").exists()


def test_a_depth_twice_and_the_folder_of_a_run(tleg, runs, tmp_path):
    twice = ["--separate", runs["separate"]] * 2
    done = tleg("compare", "--aux", runs["aux"], *twice, "--out", tmp_path / "x")
    assert (done.code, "both have depth 2" in done.err) == (1, True)
    summary = (runs["aux"] / "summary.json").read_bytes()
    done = tleg("compare", "--aux", runs["aux"], "--out", runs["aux"])
    assert (done.code, "is the folder of a run" in done.err) == (1, True)
    assert (runs["aux"] / "summary.json").read_bytes() == summary
    done = tleg("compare", "--aux", runs["aux"], "--out", tmp_path / "x", "--seconds", "nan")
    assert (done.code, "is not a duration" in done.err) == (1, True)
