"""What a user can put right: one line that names the value, the rule and the way out (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_USER_ERROR = 1
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: a checkpoint is written, run the same command again


class TlegError(Exception):
    """A mistake outside this program. Its text is the whole message: one line, no traceback."""

    exit_code = EXIT_USER_ERROR


class ConfigError(TlegError):
    """A preset, a config file, `--set` or an option says something that can't be."""


class FileFormatError(TlegError):
    """A file is not what it should be: unknown format, damaged, or of another version."""


class DataError(TlegError):
    """Images, labels or data files that can't be used as they are."""


class PluginError(TlegError):
    """A plugin could not be loaded, claims a taken name, or returned something else than it promised."""


class Preempted(TlegError):
    """The run was asked to stop; its checkpoint is written."""

    exit_code = EXIT_PREEMPTED


class PeerLost(TlegError):
    """Another process of this run has died. Its own line says why, and this one is told only where nobody else tells it."""


def first_line(error: object, limit: int = 200) -> str:
    """The first line of an error's text, at most `limit` characters; the name of its type if it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:limit]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest known word, or the list of known words, or nothing if there are none."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
