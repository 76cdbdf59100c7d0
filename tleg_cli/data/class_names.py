"""Class names for every source that tleg sorts itself: which names count, how they are spelt, and in what order they are numbered."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from tleg_cli.errors import DataError

LONGEST = 255  # bytes of a name; file systems take no more
_SYSTEM = {  # of macOS, Synology, QNAP, Windows, Python and ext4; names that begin with a dot are hidden anyway
    "__macosx", "icon\r", "network trash folder", "temporary items", "desktop db", "desktop df",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "@sharebin",
    "$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "__pycache__", "lost+found",
}  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or the system's own, so that it is neither an image nor a class."""
    return name.startswith(".") or name.lower() in _SYSTEM


def spell(name: str, where: object) -> str:
    """A class name in Unicode's composed form (NFC): macOS writes "é" as two characters, and both are one class.

    Raises DataError for a name that can't be written to a file: not UTF-8, or over 255 bytes.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise DataError(f"{where}: the class name {name!a} is not valid UTF-8; rename it") from None
    if size > LONGEST:
        raise DataError(f"{where}: a class name has {size} bytes ({name[:20]!r}...), {LONGEST} are allowed; shorten it")
    return unicodedata.normalize("NFC", name)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which class 2 comes before class 10. Capitals come before small letters."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The one order in which classes are numbered, whatever kind of source they come from; "01" comes before "1"."""
    return tuple(sorted(names, key=lambda name: (natural(name), name)))


def same_classes(train: Sequence[str], val: Sequence[str], where: object) -> None:
    """Raises DataError with the first differences unless both splits have the same classes."""
    only = [f"{', '.join(map(repr, names[:3]))} only in {split}" for names, split in differences(train, val)]
    if only:
        raise DataError(f"{where}: the classes of train and val differ: {'; '.join(only)}; both need the same folders")


def differences(train: Sequence[str], val: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The classes that only one split has, and which split that is."""
    for mine, other, where in ((train, val, "train"), (val, train, "val")):
        if names := list(in_order(set(mine) - set(other))):
            yield names, where
