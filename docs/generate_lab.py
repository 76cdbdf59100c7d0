"""Writes the tables of docs/results.md from the rows in docs/lab/, which `tleg lab` wrote: `python docs/generate_lab.py`.

docs/lab/*.jsonl are results.jsonl of comparisons, docs/lab/trials/*.jsonl are trials.jsonl of `tleg lab --tune`.
"""

import json
import re
from pathlib import Path

from tleg_cli.lab.results import lines_of
from tleg_cli.lab.tune import Trial
from tleg_cli.report.lab_table import lab_markdown, trials_markdown

FOLDER = Path(__file__).parent
TARGET = FOLDER / "results.md"
PLACE = re.compile(r"<!-- (lab/\S+\.jsonl) -->\n(?:(?!<!-- ).)*<!-- end -->", re.DOTALL)


def table(file: Path) -> str:
    """The Markdown table of a results.jsonl."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if "factor" in rows[0]:
        return trials_markdown([Trial(**row) for row in rows])
    methods = list(dict.fromkeys(row["method"] for row in rows))
    depths = sorted({row["depth"] for row in rows}, key=lambda depth: [int(blocks) for blocks in depth.split(":")])
    return lab_markdown(lines_of(rows, methods, depths), depths)


def results() -> str:
    """The text of docs/results.md with its tables as the rows give them."""
    text = TARGET.read_text(encoding="utf-8")
    if len(PLACE.findall(text)) != text.count("<!-- lab/"):
        raise SystemExit(f"{TARGET}: a table has no <!-- end -->")
    return PLACE.sub(lambda place: f"<!-- {place[1]} -->\n\n{table(FOLDER / place[1])}\n<!-- end -->", text)


if __name__ == "__main__":
    TARGET.write_text(results(), encoding="utf-8")
    print(f"{TARGET} written")
