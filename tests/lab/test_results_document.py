"""The tables of docs/results.md are those of the committed rows."""

import json
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_tables_are_up_to_date():
    generate = runpy.run_path(str(DOCS / "generate_lab.py"))
    assert (DOCS / "results.md").read_text() == generate["results"](), "run `python docs/generate_lab.py`"


@pytest.mark.parametrize("file", sorted((DOCS / "lab").glob("*.jsonl")), ids=lambda file: file.stem)
def test_every_row_is_complete_and_its_family_costs_what_the_others_cost(file):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    spent: dict[tuple[str, int], int] = {}
    for row in rows:
        assert row["status"] == "done"
        key = row["method"], row["seed"]
        spent[key] = spent.get(key, row["source_block_images"]) + row["block_images"]
    assert min(spent.values()) > 0.98 * max(spent.values())
    assert f"lab/{file.name}" in (DOCS / "results.md").read_text()
