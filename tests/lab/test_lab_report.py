"""What `tleg lab` reports in addition to the table: a longer budget, latency on this machine, break-even."""

import csv
import json

from tests.lab.test_lab_command import lab
from tests.lab.test_results import row
from tleg_cli.lab.results import lines_of
from tleg_cli.report.lab_table import lab_csv, lab_markdown


def test_a_longer_budget_is_a_column_of_its_own():
    rows = [row("a", "3", seed, 80.0 + seed) for seed in range(3)]
    long = [row("a", "3", seed, 90.0 + seed) for seed in range(3)]
    (line,) = lines_of(rows, ["a"], ["3"], long)
    assert (line.overall.mean, line.converged.mean) == (81.0, 91.0)
    assert "| 91.0 ± 2.5 |" in lab_markdown([line], ["3"])
    assert "converged" not in lab_markdown(lines_of(rows, ["a"], ["3"]), ["3"])
    (table,) = csv.DictReader(lab_csv([line], ["3"], {"a": 4}).splitlines())
    assert (table["converged"], table["break_even_depths"]) == ("91.0", "4")


def test_converged_and_latency_of_a_run(protocol, tmp_path):
    out, file = tmp_path / "out", protocol(["distilled"], budget=4, converged=8, depths="2")
    words = (file, "--out", out, "--device", "cpu")
    document = json.loads(lab(*words, "--json", "--latency"))
    (first,), (long,) = document["rows"], document["converged"]
    assert long["block_images"] > 1.8 * first["block_images"]
    assert document["lines"][0]["converged"]["mean"] == long["top1"]
    assert 1e-5 < document["latency"]["seconds"]["2"] < 1
    page = (out / "results.html").read_text()
    assert "Over latency" in page
    assert "converged: 8 block-epochs" in page
    assert not (out / "converged" / "teachers").exists()
    shown = lab(*words, "--report")
    assert "latency of one image in milliseconds (cpu, 1 thread)" in shown
    counted = json.loads(lab(*words, "--dry-run", "--json"))
    assert [cell["block_images"] for cell in counted["converged"]] == [long["block_images"]]


def test_a_longer_budget_that_is_not_longer_is_refused(protocol):
    assert "converged is 18, which is not above the budget of 18" in lab(
        protocol(["distilled"], converged=18), "--dry-run", code=1
    )


def test_the_latency_grows_with_the_depth(protocol):
    from tleg_cli.lab.choose import open_study
    from tleg_cli.lab.latency import measure

    found = measure(open_study(str(protocol(["distilled"], depths="2,24"))), "cpu", 0.1).seconds
    assert found["24"] > 3 * found["2"]
