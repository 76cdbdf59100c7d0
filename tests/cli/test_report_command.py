"""`tleg report`: every training leaves its page, whose values are those of its files."""

import json
import shutil

import pytest

from tests.tiny import as_options
from tleg_cli.files import file_hash


@pytest.fixture
def run(made, tmp_path):
    """A copy of the folder of a tiny training."""
    return shutil.copytree(made.learngene.parent, tmp_path / "aux")


def test_a_training_leaves_its_page_with_the_values_of_its_files(tleg, run):
    text = (run / "report.html").read_text()
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"<dd>{record['top1']:.2f} %</dd>" in text
    assert f">{record['loss']:.4f}</td>" in text
    for name in ("learngene.pt", "metrics.jsonl", "config.yaml"):
        assert file_hash(run / name) in text
    assert "as written" in text
    import torch

    assert torch.__version__.partition("+")[0] in text
    before = (run / "report.html").stat().st_mtime_ns
    done = tleg("report", run)
    assert done.code == 0, done.err
    assert done.out == f"{run}/report.html\n"
    (run / "report.html").unlink()
    assert tleg("report", run).code == 0
    assert str(run) in (run / "report.html").read_text()
    assert before


def test_writing_it_again_changes_nothing(tleg, run):
    assert tleg("report", run).code == 0
    before = (run / "report.html").stat().st_mtime_ns
    assert tleg("report", run).code == 0
    assert (run / "report.html").stat().st_mtime_ns == before


def test_damage_and_an_unfinished_run_are_shown(tleg, run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    (run / "learngene.pt").write_bytes(b"nothing")
    assert tleg("report", run).code == 0
    text = (run / "report.html").read_text()
    assert "1 line of metrics.jsonl can&#39;t be read" in text
    assert "learngene.pt has changed since the training wrote it" in text
    (run / "summary.json").unlink()
    assert tleg("report", run).code == 0
    assert "<span>not finished</span>" in (run / "report.html").read_text()


def test_several_runs_are_compared_on_one_page(tleg, made, run, tmp_path):
    teacher, page = made.teacher.parent, tmp_path / "both.html"
    without = tleg("report", teacher, run)
    assert (without.code, "--out" in without.err) == (1, True)
    done = tleg("report", teacher, run, "--out", page, "--json")
    assert done.json() == {"files": [str(page)]}
    text = page.read_text()
    assert "2 trainings" in text
    assert '<th scope="row">command</th><td class="wrap">train-teacher</td><td class="wrap">train-aux</td>' in text
    assert '<th scope="row">seed</th><td class="wrap">0</td><td class="wrap">0</td>' not in text  # equal
    assert tleg("report", teacher, run, "--out", page).code == 0  # a report may be replaced
    page.write_text("my own page")
    refused = tleg("report", teacher, run, "--out", page)
    assert (refused.code, "is not a report" in refused.err) == (1, True)
    assert page.read_text() == "my own page"


def test_a_family_has_a_page_with_all_depths_and_one_for_each(tleg, made, tmp_path):
    common = ["--preset", "digits", "--data", "digits", "--device", "cpu", *as_options("descendant.epochs=1")]
    family = tmp_path / "des"
    done = tleg("train-des", *common, "--learngene", made.learngene, "--depth", "2,4", "--out", family)
    assert done.code == 0, done.err
    text = (family / "report.html").read_text()
    summary = json.loads((family / "summary.json").read_text())
    for one in summary["descendants"]:
        assert f"depth-0{one['depth']}/report.html" in text
        assert f">{one['final_top1']:.2f} %</td>" in text
        assert (family / f"depth-0{one['depth']}" / "report.html").is_file()
    assert "Top-1 of the family" in text


def test_what_is_not_a_run_is_one_line(tleg, tmp_path):
    done = tleg("report", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "is not a run folder" in done.err
    (tmp_path / "run.json").write_text("[1")
    done = tleg("report", tmp_path)
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_a_page_that_cannot_be_written_is_a_warning(run):
    from tleg_cli.report.run_page import report_finished

    said = []
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    report_finished(run, said.append)
    assert len(said) == 1
    assert "is not up to date" in said[0]
