"""stdout and stderr that may be closed, full or have lost their reader: no traceback, and never the end of a training."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from tleg_cli.errors import TlegError

EXIT_NO_READER = 141  # 128 + SIGPIPE: what a shell reports for `ls | head`


class ReaderLeft(Exception):
    """The reader of stdout has left. Not an OSError: typer and rich would end the process in their own way."""


class _Stream:
    """A text stream whose failures are handled here. Everything else is the stream's own."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text == "":
            return 0  # typer writes nothing to find out what kind of stream this is, and hides the error
        try:
            return self._stream.write(text)
        except OSError as error:
            self.failed(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.failed(error)

    def failed(self, error: OSError) -> None:
        """Whatever is written from now on goes nowhere, so that Python does not fail again when it ends."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class _Progress(_Stream):
    """stderr: what cannot be shown is not worth the end of a training."""


class _Results(_Stream):
    """stdout: what cannot be written is an error, unless the reader has had enough."""

    def failed(self, error: OSError) -> None:
        super().failed(error)
        if error.errno == errno.EPIPE:
            raise ReaderLeft from None
        raise TlegError(f"can't write to stdout: {error.strerror}") from None


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """While the block runs, stdout and stderr are as described above. The block must flush stdout itself, to see it fail."""
    _open_missing()
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):  # a letter that the terminal's encoding lacks is shown as an escape
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = cast(TextIO, _Results(before[0])), cast(TextIO, _Progress(before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ReaderLeft, TlegError):
            sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Gives a closed stdin, stdout or stderr to /dev/null: the next file that is opened would take its number and its output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
