"""The one place that writes results to stdout: a JSON document, a table, names with values, a line.

Names in files and folders come from anywhere. What a terminal would obey is shown as an escape, and rich's markup is off.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from tleg_cli.errors import printable

T = TypeVar("T")
_WIDE = 10_000  # into a pipe or a file, nothing is cut off
_READABLE = 110  # letters in a line of sentences


def print_json(value: Any) -> None:
    """One JSON document on stdout. NaN and infinity are not JSON: they become null."""
    json.dump(_finite(value), sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def shown(value: T) -> T:
    """A document with every text in it as a terminal, a page or a plot may show it. See errors.printable."""
    if isinstance(value, str):
        return printable(value)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {shown(name): shown(part) for name, part in value.items()}  # type: ignore[return-value]
    return [shown(part) for part in value] if isinstance(value, list | tuple) else value  # type: ignore[return-value]


def result_console(width: int | None = _WIDE) -> Console:
    """Prints on stdout what it is given, and reads no markup, emoji names or numbers into it. width: None for the terminal's."""
    return Console(width=width, markup=False, emoji=False, highlight=False)


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None for a pipe or a file, where nothing is cut off."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str] = ()
) -> None:
    """Words on the left, numbers on the right; as wide as necessary.

    dispensable: columns that are left out, the first first, until the terminal is wide enough; a line names them.
    """
    console, width, left_out = result_console(), terminal_width() or _WIDE, list[str]()
    console.print(printable(title), style="bold", soft_wrap=True)
    table = _table(columns, rows)
    for name in dispensable:
        if console.measure(table).maximum <= width:
            break
        left_out.append(name)
        kept = [index for index, column in enumerate(columns) if column not in left_out]
        table = _table([columns[index] for index in kept], [[row[index] for index in kept] for row in rows])
    console.width = max(1, console.measure(table).maximum)
    with console.capture() as caught:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in caught.get().splitlines())
    if left_out:
        print_paragraph(f"Left out at {width} columns: {', '.join(left_out)}. A wider terminal shows them, and --json.")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numbers = index > 0 and all(_is_number(row[index]) for row in rows)
        table.add_column(printable(column), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("+-")[:1].isdigit()


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Names and values, one pair on each line."""
    result_console().print(printable(title), style="bold")
    names = {printable(name): printable(str(value)) for name, value in facts.items()}
    width = max(map(len, names), default=0)
    for name, value in names.items():
        print(f"{name:<{width}}  {value}".rstrip())


def print_paragraph(text: str) -> None:
    """Sentences, in lines that fit the terminal; of at most 110 letters."""
    width = min(_READABLE, terminal_width() or _READABLE)
    print("\n".join(textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)))


def print_line(text: str = "") -> None:
    """One line."""
    print(printable(text))
