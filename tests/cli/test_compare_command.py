"""`tleg compare` accepts three runs that belong together, and names what is wrong with all others."""

import json
from pathlib import Path

import pytest


def run_folder(folder: Path, summary: object, **record: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(summary if isinstance(summary, str) else json.dumps(summary))
    if record:
        (folder / "run.json").write_text(json.dumps(record))
    return folder


def family(folder: Path, init: str, *, depths=("2", "5"), gene="right", summary=None, **record) -> Path:
    listed = []
    for depth in depths:
        one = {
            "kind": "descendant", "depth": depth, "init": init, "parameters": 1000 * int(depth), "zero_epoch_top1": 60.0,
            "top1": [70.0, 80.0], "final_top1": 80.0, "seconds": 1.5,
        }  # fmt: skip
        one |= {"zero_epoch_top1": 10.0, "top1": [30.0, 75.0]} if init == "scratch" else {}
        listed.append(one | (summary or {}))
        known = {"depth": depth, "learngene": {"sha256": gene}, "backbone": {"name": "vit"}, "data": {"path": "digits"}}
        run_folder(folder / f"depth-{int(depth):02d}", one, **(known | record))
    return run_folder(folder, {"kind": "family", "init": init, "descendants": listed})


def aux(folder: Path, **changes: object) -> Path:
    known = {"kind": "aux", "depth": "3", "final_top1": 66.5, "seconds": 2, "sha256": {"learngene.pt": "right"}}
    return run_folder(folder, known | changes, depth="3")


@pytest.fixture
def runs(tmp_path):
    return {
        "aux": aux(tmp_path / "aux"),
        "family": family(tmp_path / "des", "learngene"),
        "scratch": family(tmp_path / "scratch", "scratch", gene="any, only its shape is used"),
    }


@pytest.fixture
def compare(tleg, tmp_path):
    def run(folders, *options):
        named = [word for name, folder in folders.items() for word in (f"--{name}", folder)]
        return tleg("compare", *named, "--out", tmp_path / "v1.5", *options)

    return run


def test_three_runs_that_belong_together(compare, runs, tmp_path):
    done = compare(runs, "--json")
    assert done.code == 0, done.err
    assert done.json() == json.loads((tmp_path / "v1.5" / "summary.json").read_text())
    assert done.json()["descendants"][1] == {
        "depth": 5, "parameters": 5000, "zero_epoch_top1": 60.0, "top1": [70.0, 80.0], "scratch_top1": [30.0, 75.0]
    }  # fmt: skip
    assert compare(runs).out.splitlines()[2].split()[-2:] == ["epoch", "2"]


def swap(runs):
    return {**runs, "family": runs["scratch"], "scratch": runs["family"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap, "swap the two"),
        (lambda runs: {**runs, "aux": runs["family"]}, "--aux"),
        (lambda runs: {**runs, "aux": aux(runs["aux"], kind="teacher")}, "is a run of `tleg train-teacher`"),
        (lambda runs: {**runs, "family": runs["family"] / "depth-02"}, "give the folder above it"),
        (lambda runs: {**runs, "scratch": runs["family"]}, "was trained from a learngene"),
        (lambda runs: {**runs, "aux": aux(runs["aux"], sha256={"learngene.pt": "other"})}, "another learngene"),
        (lambda runs: {**runs, "scratch": family(runs["scratch"], "scratch", depths=("2",))}, "different depths"),
        (lambda runs: {**runs, "scratch": family(runs["scratch"], "scratch", data={"path": "mnist"})}, "another data"),
        (lambda runs: {**runs, "scratch": family(runs["scratch"], "scratch", backbone={"name": "x"})}, "backbone"),
        (lambda runs: {**runs, "scratch": family(runs["scratch"], "scratch", summary={"parameters": 7})}, "parameters"),
        (lambda runs: {**runs, "aux": runs["aux"] / "nothing"}, "does not hold a finished run"),
    ],
)  # fmt: skip
def test_runs_that_do_not_belong_together_are_refused(compare, runs, tmp_path, change, words):
    done = compare(change(runs))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert words in done.err
    assert not (tmp_path / "v1.5").exists()


def test_other_classes_or_images_are_refused_even_if_the_path_is_the_same(compare, runs):
    for key, values in (
        ("classes", (["a", "b"], ["b", "a"])),
        ("images", ({"val": {"images": 4}}, {"val": {"images": 5}})),
    ):
        for name, value in zip(("family", "scratch"), values, strict=True):
            family(runs[name], "learngene" if name == "family" else "scratch", **{key: value})
        assert "depth 2 has another" in compare(runs).err


@pytest.mark.parametrize(
    "summary",
    [
        "[1, 2]", "{", "null", '"text"', "[" * 100_000, '{"kind": ["aux"]}', '{"kind": "aux", "depth": 7}',
        '{"kind": "aux", "depth": "3", "final_top1": "high"}', '{"kind": "aux", "depth": "3-12"}',
        '{"kind": "aux", "depth": "3", "seconds": {}}', '{"kind": "aux", "depth": "3", "sha256": {"a": []}}',
    ],
)  # fmt: skip
def test_a_summary_of_wrong_types_is_one_line(compare, runs, summary):
    done = compare({**runs, "aux": run_folder(runs["aux"], summary)})
    assert (done.code, done.err.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [{"top1": 80}, {"top1": ["a"]}, {"depth": None}, {"depth": "0"}, {"parameters": "many"}, {"parameters": True},
     {"zero_epoch_top1": []}, {"seconds": "1"}],
)  # fmt: skip
def test_a_descendant_of_wrong_types_is_one_line(compare, runs, change):
    done = compare({**runs, "family": family(runs["family"], "learngene", summary=change)})
    assert (done.code, done.err.count("\n")) == (1, 1), done.err


def test_scores_that_are_not_finite_are_null_and_never_nan(compare, runs, tmp_path):
    nan = float("nan")
    family(runs["family"], "learngene", summary={"top1": [nan, 80.0], "zero_epoch_top1": nan})
    done = compare(runs, "--json")
    assert done.code == 0, done.err
    assert "NaN" not in done.out + (tmp_path / "v1.5" / "summary.json").read_text()
    assert done.json()["descendants"][0]["top1"] == [None, 80.0]
    assert compare(runs).code == 0
    assert compare(runs, "--seconds", "nan").code == 1


def test_no_epochs_and_families_of_unequal_length_are_shown(compare, runs):
    family(runs["family"], "learngene", summary={"top1": []})
    table = compare(runs).out
    assert "scratch: 2" in table
    assert "0 epochs" in table


def test_the_summary_of_a_run_is_never_replaced(tleg, runs):
    before = (runs["aux"] / "summary.json").read_text()
    named = [word for name, folder in runs.items() for word in (f"--{name}", folder)]
    for out in (*runs.values(), runs["family"] / "depth-02", runs["aux"].parent / "des" / ".." / "aux"):
        done = tleg("compare", *named, "--out", out)
        assert (done.code, "would be replaced" in done.err) == (1, True), out
    assert (runs["aux"] / "summary.json").read_text() == before
