"""Mistakes that a user can correct: one line that names the value, the rule and the way out (exit code 1)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

EXIT_USER_ERROR = 1
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: a checkpoint is written, run the same command again


class TlegError(Exception):
    """A mistake outside this program. Its text is the complete message: one line, no traceback."""

    exit_code = EXIT_USER_ERROR


class ConfigError(TlegError):
    """A preset, a config file, `--set` or an option has a value that cannot be used."""


class FileFormatError(TlegError):
    """A file of an unknown format or version, or a damaged one."""


class DataError(TlegError):
    """Images, labels or data files that cannot be used as they are."""


class PluginError(TlegError):
    """A plugin failed to load, uses a name that is taken, or returned something other than it promised."""


class Preempted(TlegError):
    """The run was asked to stop. The same command carries on from its newest checkpoint."""

    exit_code = EXIT_PREEMPTED


class PeerLost(TlegError):
    """Another process of this run has died. Shown only if that process could not report the reason itself."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest known word, or the list of known words, or nothing if there are none."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""


def first_line(error: object, limit: int = 200) -> str:
    """The first line of another library's error, for use in one of ours; the error's type if it has no text."""
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__)[:limit]


def one_line(error: BaseException) -> str:
    """A complete message as one line. Indented lines, as torch writes them, are joined; other newlines come from names."""
    return printable(re.sub(r"\s*\n\s+", " ", str(error).strip()))


def printable(text: str) -> str:
    r"""`text` with everything that a terminal might obey written as an escape: printable("a\x1b[31m") == r"a\x1b[31m".

    Names in files and folders come from anywhere: control characters, newlines, marks that reverse the direction of
    writing, and surrogates (which no encoding can write) are shown, not sent.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
