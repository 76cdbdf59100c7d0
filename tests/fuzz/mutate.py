"""Documents that are wrong in one or a few places: a value of another type, too large, too deep, twice, or missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

_DEEP: Any = None
for _ in range(60):
    _DEEP = [_DEEP]
_STRANGE = [
    None, True, False, 0, 1, -1, 2, 1e-300, 1e308, 0.5, -0.5, 2**31, 2**63, 2**70, -(2**63), 10**400,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "1", "-1", "nan", "1e999", "٣", "vit", "linear", "scaled", "null",
    "x" * 5000, "\ud800", "\x00", "\x1b[2J\x1b]0;x\x07", "a\nb\r\nc", "<script>alert(1)</script>", "../../../etc/passwd",
    "https://127.0.0.1:9/x", "hf-hub:timm/x", "local-dir:/tmp", "/dev/zero", "%s%n{0}", [], {}, [[]], [None], [0], ["a"] * 300,
    list(range(3000)), {"": None}, {"a": {"b": {"c": 1}}}, _DEEP, {"\ud800": "\x1b"}, {str(n): n for n in range(500)},
]  # fmt: skip

Path = tuple[Any, ...]


def paths(document: Any, prefix: Path = ()) -> Iterator[Path]:
    """The way to every value in a document, the document itself first."""
    yield prefix
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from paths(value, (*prefix, key))


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """A copy of plain values (dicts, lists, numbers, text) that is wrong in one to three places."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(copy))
        place = draw(st.sampled_from(places[1:] or places))
        if not place:
            return deepcopy(draw(st.sampled_from(_STRANGE)))
        parent = copy
        for key in place[:-1]:
            parent = parent[key]
        _change(draw, parent, place[-1])
    return copy


def _change(draw: st.DrawFn, parent: Any, key: Any) -> None:
    what = draw(st.sampled_from(["strange", "strange", "strange", "near", "near", "drop", "move", "repeat"]))
    if what == "strange":
        parent[key] = deepcopy(draw(st.sampled_from(_STRANGE)))  # it may be changed next
    elif what == "near":
        parent[key] = draw(st.sampled_from(_near(parent[key])))
    elif what == "drop":
        del parent[key]
    elif what == "repeat" and isinstance(parent, list):
        parent.insert(0, parent[key])
    elif isinstance(parent, dict):  # under another name, or of another key
        other = draw(st.sampled_from([*parent, f"{key}x", str(key).upper()]))
        parent[other] = parent.pop(key) if what == "move" else parent[key]


def _near(value: Any) -> list[Any]:
    """Values that a hurried check would let through."""
    if isinstance(value, bool) or value is None:
        return [not value, "true", 1, [value]]
    if isinstance(value, int) and abs(value) > 2**80:
        return [-value, str(value)]
    if isinstance(value, int | float):
        return [
            -value,
            value + 1,
            value - 1,
            value * 1000,
            value * 10**9,
            value + 0.5,
            float(value),
            str(value),
            [value],
            0,
        ]
    if isinstance(value, str):
        return [
            value + " ",
            value.upper(),
            value * 50,
            value[:1],
            list(value),
            {value: value},
            value + "\x1b[31m",
            value.encode().hex(),
        ]
    if isinstance(value, list):
        return [
            value[::-1],
            value * 2,
            value * 300,
            [*value, None],
            [value],
            value[:1],
            dict(enumerate(map(str, value))),
        ]
    return [list(value), {**value, "more": value}, dict.fromkeys(value), dict.fromkeys(value, 1), [value]]


def as_json(document: Any, *, twice: bool = False) -> bytes:
    """Text for it, with NaN and Infinity as Python writes them. twice: the first key is there a second time, as null."""
    text = json.dumps(document)
    if twice and isinstance(document, dict) and document:
        text = f"{text[:-1]}, {json.dumps(next(iter(document)))}: null}}"
    return text.encode()
