"""Hostile inputs: strategies, and what every reader must do with them: take them, or refuse them in one line, soon, and run nothing."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pickle
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tleg_cli.errors import TlegError

A_FEW = 10  # for each target, in every run of the tests
MANY = int(os.environ.get("TLEG_FUZZ", "400"))  # in the slow ones; TLEG_FUZZ=100000 for a long run
A_FEW_AND_MANY = pytest.mark.parametrize(
    "examples",
    [
        pytest.param(A_FEW, id="a few"),
        pytest.param(MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(100_000 if MANY > 1000 else 300)]),
    ],
)
MARKER = Path("/tmp") / f"tleg-fuzz-was-run-{os.getpid()}"  # a payload that is executed makes this folder


def feed(check: Callable[[Any], object], inputs: st.SearchStrategy[Any], examples: int) -> None:
    """Gives `check` so many inputs. It fails by any exception but TlegError, after 10 seconds, or if a payload ran."""

    @settings(
        max_examples=examples,
        deadline=datetime.timedelta(seconds=10),
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=examples <= 1000,  # the same ones every time, except in a long run
        print_blob=True,
    )
    @given(inputs)
    def once(value: Any) -> None:
        try:
            check(value)
        except TlegError as error:
            assert str(error).strip()
        assert not MARKER.exists(), "a payload was executed"

    with _little_memory():
        once()


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """4 GB more than now: a file that asks for more than that fails here, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


Target = tuple[Callable[[Any], object], "st.SearchStrategy[Any]"]  # what is fed, and with what


class Quiet(bytes):
    """A file's content that doesn't print itself: hypothesis shows what it draws from, megabytes of it."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """See _damaged."""
    return _damaged(Quiet(whole))


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with a few bits flipped, bytes replaced, put in or cut out; mostly near its ends, where formats say what they are."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        size = max(1, len(data))
        # not by one_of: it leaves out what it takes for equal, which depends on what it has cached
        spans = (0, min(200, size - 1)), (0, min(3000, size - 1)), (max(0, size - 400), size - 1), (0, size - 1)
        place = draw(st.integers(*draw(st.sampled_from(spans))))
        what = draw(st.sampled_from(["flip", "flip", "flip", "number", "cut", "truncate", "put", "repeat"]))
        if what == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "number":
            length = draw(st.sampled_from([1, 2, 4, 8]))
            value = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]))
            data[place : place + length] = (value % 256**length).to_bytes(length, "little")
        elif what == "cut":
            del data[place : place + draw(st.integers(1, 64))]
        elif what == "truncate" and draw(st.booleans()):
            del data[place:]
        elif what == "put":
            data[place:place] = draw(st.binary(max_size=32))
        elif what == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 512))]
    return Quiet(data)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, "", "vit", "blocks", "linear"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class Run:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _by_name(module: str, name: str, argument: str, build: str) -> bytes:
    """A pickle in bytes, for a name that no Run could hold, called in one of pickle's ways."""
    name_of = f"c{module}\n{name}\n".encode()
    text = f"V{argument}\n".encode()
    return {
        "reduce": name_of + b"(" + text + b"tR.",
        "inst": b"(" + text + f"i{module}\n{name}\n.".encode(),
        "obj": b"(" + name_of + text + b"o.",
        "newobj": b"\x80\x02" + name_of + b"(" + text + b"t\x81.",
        "build": b"\x80\x02" + name_of + b")R}" + text + b"}sb.",
    }[build]


_CALLS = [
    ("os", "mkdir"), ("posix", "mkdir"), ("os", "makedirs"), ("os", "system"), ("posix", "system"), ("pathlib", "Path.mkdir"),
    ("builtins", "eval"), ("builtins", "exec"), ("subprocess", "Popen"), ("subprocess", "call"), ("shutil", "rmtree"),
    ("torch.hub", "load"), ("torch.utils.collect_env", "run"), ("torch.storage", "_load_from_bytes"), ("torch", "load"),
    ("torch.serialization", "load"), ("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("runpy", "_run_code"),
    ("timeit", "timeit"), ("operator", "attrgetter"), ("functools", "partial"), ("builtins", "getattr"), ("pdb", "run"),
    ("argparse", "Namespace"), ("collections", "OrderedDict"), ("torch", "Tensor"), ("torch._utils", "_rebuild_tensor_v2"),
]  # fmt: skip


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A pickle that runs something, intact or damaged."""
    module, name = draw(st.sampled_from(_CALLS))
    argument = {
        "system": f"mkdir {MARKER}", "eval": f"__import__('os').mkdir({str(MARKER)!r})", "Popen": f"mkdir {MARKER}",
        "exec": f"__import__('os').mkdir({str(MARKER)!r})", "run": f"__import__('os').mkdir({str(MARKER)!r})",
        "timeit": f"__import__('os').mkdir({str(MARKER)!r})",
    }.get(name, str(MARKER))  # fmt: skip
    if draw(st.booleans()):
        call = Run(os.mkdir, str(MARKER)) if draw(st.booleans()) else Run(os.system, f"mkdir {MARKER}")
        inside = draw(st.sampled_from([call, [call], {"model": call}, {"format": "tleg-learngene", "theta": call}]))
        found = pickle.dumps(inside, protocol=draw(st.integers(0, 5)))
    else:
        found = _by_name(module, name, argument, draw(st.sampled_from(["reduce", "inst", "obj", "newobj", "build"])))
    return draw(damaged(found)) if draw(st.integers(0, 3)) == 0 else found


@st.composite
def torch_files(draw: st.DrawFn, whole: bytes) -> bytes:
    """A torch archive: damaged, or with a payload for its pickle, or a bare payload."""
    kind = draw(st.sampled_from(["damaged", "damaged", "archive", "bare"]))
    if kind == "damaged":
        return draw(damaged(whole))
    if kind == "bare":
        return draw(payloads())
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            content = draw(payloads()) if entry.filename.endswith("data.pkl") else old.read(entry)
            new.writestr(entry, content)
    return out.getvalue()


@st.composite
def safetensors_files(draw: st.DrawFn, tleg: str) -> bytes:
    """A header that lies: about its length, about tensors, about what tleg wrote; and some bytes after it."""
    numbers = st.sampled_from([0, 1, 2, 4, 16, -1, 2**31, 2**63, 2**64, 1.5, "4", None, [4]])
    entry = st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F4", "X", "", 5, None]),
            "shape": st.lists(numbers, max_size=4) | plain,
            "data_offsets": st.lists(numbers, max_size=3) | plain,
        },
    )
    names = st.sampled_from(["theta/blocks.*.w", "shared/norm.weight", "x", "", "theta/", "blocks.0.w", "\x00"])
    header: dict[str, Any] = draw(st.dictionaries(names, entry | plain, max_size=4))
    said = draw(st.sampled_from([tleg, tleg[:-9], "", "{}", "[]", "null", "[" * 3000]) | plain.map(json.dumps))
    header["__metadata__"] = draw(st.just({"format": "pt", "tleg": said}) | plain)
    text = json.dumps(header).encode()
    length = draw(st.sampled_from([len(text), len(text), len(text), 0, 1, len(text) - 1, len(text) + 8, 2**40, 2**63]))
    return length.to_bytes(8, "little") + text + draw(st.binary(max_size=80))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
