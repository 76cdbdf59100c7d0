"""All cells of a comparison, one after another or in several processes. Finished ones are skipped, failed ones are tried again.

Processes share nothing but the folder: each goes through all cells and takes those that no other one holds. So do several commands
in one folder.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tleg_cli.errors import Preempted, TlegError, one_line
from tleg_cli.lab.folder import LabFolder, Row
from tleg_cli.lab.plan import make_cells
from tleg_cli.lab.protocol import Protocol
from tleg_cli.lab.run_cell import run_cell
from tleg_cli.lab.study import Cell, Study, make_study
from tleg_cli.launch.stop_signals import StopRequested, catch_stop_signals
from tleg_cli.learngene.depths import Depth
from tleg_cli.one_thread import one_thread
from tleg_cli.training.distributed import World

_LOOK = 0.2  # seconds between two looks for finished cells


@dataclass(frozen=True)
class Told:
    """Who hears of the cells. finished: of each when it is finished, at once if it was before; during: a line every half minute, if
    there is one process."""

    finished: Callable[[Cell, Row], None]
    during: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class _Work:
    """What a process is given: names, since a plugin's functions can't always be sent. number: which process; it chooses the GPU."""

    protocol: Protocol
    images: int
    folder: LabFolder
    names: Sequence[tuple[str, Depth, int]]
    device: str
    number: int


def run_cells(study: Study, cells: Sequence[Cell], folder: LabFolder, device: str, jobs: int, told: Told) -> list[Row]:
    """The rows of the cells, in their order.

    Raises Preempted if asked to stop: the same call carries on.
    """
    rows: dict[str, Row] = {}
    for cell in cells:
        row = folder.row(cell)
        if row is not None and row["status"] == "done":
            rows[cell.name] = row
            told.finished(cell, row)
        elif row is not None:
            folder.remove_row(cell)
    left = [cell for cell in cells if cell.name not in rows]
    for cell, row in (
        _alone(study, left, folder, device, told.during)
        if jobs == 1
        else _together(study, left, folder, device, min(jobs, len(left)))
    ):
        rows[cell.name] = row
        told.finished(cell, row)
    return [rows[cell.name] for cell in cells]


def _alone(
    study: Study, cells: Sequence[Cell], folder: LabFolder, device: str, tell: Callable[[str], None]
) -> Iterator[tuple[Cell, Row]]:
    with one_thread():
        for cell in cells:
            row = run_cell(study, cell, folder, _world(device, 0), tell)
            assert row is not None  # it waits for a cell that another process holds
            yield cell, row


def _together(
    study: Study, cells: Sequence[Cell], folder: LabFolder, device: str, jobs: int
) -> Iterator[tuple[Cell, Row]]:
    """Each process begins at another cell. Asked to stop, all of them write a checkpoint."""
    names = [(cell.method.name, cell.depth, cell.seed) for cell in cells]
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    processes = []
    for number in range(jobs):
        first = number * len(names) // jobs
        work = _Work(study.protocol, study.images, folder, names[first:] + names[:first], device, number)
        processes.append(context.Process(target=_work, args=(work, errors)))
    left = list(cells)
    try:
        for process in processes:
            process.start()
        while left:
            running = any(process.is_alive() for process in processes)
            for cell in list(left):
                if (row := folder.row(cell)) is not None:
                    left.remove(cell)
                    yield cell, row
            if left and not running:
                raise _why(errors)
            time.sleep(_LOOK)
    except StopRequested as stopped:
        raise Preempted(f"{stopped}; the same command carries on with the cells that are left") from None
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _why(errors: Any) -> TlegError:
    """Why processes ended before all cells were finished."""
    if errors.empty():
        return TlegError("the processes of the comparison were killed; the same command carries on")
    stopped, text = errors.get()
    return Preempted(text) if stopped else TlegError(text)


def _work(work: _Work, errors: Any) -> None:
    """Takes every cell that no other process has finished or holds, and in the end waits for those that are held."""
    torch.set_num_threads(1)
    try:
        with catch_stop_signals():
            study = make_study(work.protocol, work.images)
            folder, world = work.folder, _world(work.device, work.number)
            for wait in (False, True):
                for method, depth, seed in work.names:
                    (cell,) = make_cells(study, [method], [depth], [seed])
                    if folder.row(cell) is None:
                        run_cell(study, cell, folder, world, wait=wait)
    except (StopRequested, Preempted) as stopped:
        errors.put((True, f"{stopped}"))
    except TlegError as error:
        errors.put((False, one_line(error)))


def _world(device: str, number: int) -> World:
    index = number % torch.cuda.device_count() if device == "cuda" else None
    return World(0, 1, torch.device(device) if index is None else torch.device("cuda", index))
