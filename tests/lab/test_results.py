"""What is made of the rows: intervals, ranks with ties, tables."""

import csv
import io

import pytest

from tleg_cli.lab.results import lines_of, mean_of
from tleg_cli.report.lab_table import lab_csv, lab_latex


def row(method, depth, seed, top1, **more):
    values = {
        "status": "done", "start": None, "epoch_1": None, "epochs": [], "source_block_images": 100, "block_images": 10,
        "parameters": 1000, "source_parameters": 300, "trained": True,
    }  # fmt: skip
    return {"method": method, "depth": depth, "seed": seed, "top1": top1, **values, **more}


def rows_of(method, *scores, **more):
    """scores: of each seed at depth 3; depth 6 has two points more."""
    return [
        row(method, depth, seed, score + plus, **more)
        for seed, score in enumerate(scores)
        for depth, plus in (("3", 0.0), ("6", 2.0))
    ]


def lines(*groups):
    rows = [one for group in groups for one in group]
    names = list(dict.fromkeys(one["method"] for one in rows))
    return {line.method: line for line in lines_of(rows, names, ["3", "6"])}


def test_the_interval_is_students_t():
    mean = mean_of([90.0, 92.0, 94.0])
    assert mean.mean == 92
    assert mean.half == pytest.approx(4.302653 * 2 / 3**0.5)  # t of 2 degrees of freedom at 97.5 %
    assert mean_of([90.0, 92.0]).half is None


def test_two_names_of_one_method_tie_and_a_bad_one_is_last():
    found = lines(
        rows_of("a", 90.0, 91.0, 92.0),
        rows_of("the-same", 90.0, 91.0, 92.0),
        rows_of("close", 91.0, 90.0, 92.1),
        rows_of("bad", 20.0, 21.0, 22.5),
    )
    assert {name: line.rank for name, line in found.items()} == {"a": 1, "the-same": 1, "close": 1, "bad": 4}


def test_a_small_difference_counts_if_every_seed_shows_it():
    """The seeds differ by 10 points, the methods by one in each of them: paired, that is clear."""
    found = lines(rows_of("a", 80.0, 85.0, 90.0), rows_of("b", 81.0, 86.1, 91.0))
    assert (found["a"].rank, found["b"].rank) == (2, 1)
    assert found["a"].overall.half > 5


def test_fewer_than_three_seeds_give_no_rank():
    assert {line.rank for line in lines(rows_of("a", 80.0, 85.0), rows_of("b", 10.0, 12.0)).values()} == {None}


def test_a_failed_cell_leaves_its_seed_out_of_the_mean_over_depths():
    rows = rows_of("a", 80.0, 85.0)
    rows[0] = {"method": "a", "depth": "3", "seed": 0, "status": "failed", "error": "NaN"}
    line = lines(rows)["a"]
    assert (line.failed, line.overall.mean, line.at["3"].seeds, line.at["6"].seeds) == (1, 86.0, 1, 2)


def test_stored_and_spent_are_of_the_complete_family():
    trained = lines(rows_of("a", 80.0))["a"]
    assert (trained.stored, trained.block_images) == (2000, 120)
    not_trained = lines(rows_of("a", 80.0, trained=False, block_images=0))["a"]
    assert (not_trained.stored, not_trained.block_images) == (300, 100)


def test_csv_and_latex_hold_the_table():
    found = list(lines(rows_of("a", 80.0, 85.0, 90.0), rows_of("b", 10.0, 11.0, 12.0)).values())
    table = list(csv.DictReader(io.StringIO(lab_csv(found, ["3", "6"]))))
    assert [one["method"] for one in table] == ["a", "b"]
    assert float(table[0]["top1_6"]) == 87.0
    assert float(table[0]["half_interval_mean"]) > 5
    latex = lab_latex(found, ["3", "6"])
    assert "a & 85.0 & 87.0 & 86.0 $\\pm$ 12.4 \\\\" in latex
    assert latex.count("rule") == 3
