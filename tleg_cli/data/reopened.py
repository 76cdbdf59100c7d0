"""Splits of third parties, opened by each process that reads them.

A file that is open when a process forks has one position for all processes, which they move for each other: images come out
damaged, or in each other's place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tleg_cli.data.source import ArraySplit, FileSplit, name_of
from tleg_cli.hookspecs import Split

if TYPE_CHECKING:
    from PIL.Image import Image


def safe_to_fork(open_split: Callable[[], Split]) -> Split:
    """The split that `open_split` returns, if it is known to hold no open file, or one that is opened again after a fork."""
    split = open_split()
    return split if isinstance(split, FileSplit | ArraySplit) else ReopenedSplit(open_split, {os.getpid(): split})


@dataclass
class ReopenedSplit:
    """What `open_split` returns, in each process. opened: by process id.

    The parent's is kept in a child too: to close it there might change the file.
    """

    open_split: Callable[[], Split]
    opened: dict[int, Split] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._own())

    def __getitem__(self, index: int) -> tuple[Image, int]:
        return self._own()[index]

    def where(self, index: int) -> str:
        """What messages call image `index`."""
        return name_of(self._own(), index)

    def _own(self) -> Split:
        process = os.getpid()
        if process not in self.opened:
            self.opened[process] = self.open_split()
        return self.opened[process]

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "opened": {}}
