"""One training in its folder: `open_run` locks it, refuses other runs and resumes; `Run.finish` writes the summary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from tleg_cli.config import Config
from tleg_cli.config_file import dump_yaml
from tleg_cli.data.images_record import SplitRecord
from tleg_cli.files import file_hash, remove_leftovers, write_text
from tleg_cli.training.distributed import World, from_main, wait_for_all
from tleg_cli.training.identity import Identity, check_same
from tleg_cli.training.job import Observer
from tleg_cli.training.lock import lock_folder, unlock_folder
from tleg_cli.training.optim import Budget
from tleg_cli.training.records import EpochRecord, Summary
from tleg_cli.training.repair import finished_summary, recorded_identity
from tleg_cli.training.run_folder import RunFolder, read_summary, write_summary


@dataclass
class Run:
    """A run folder and the processes that work in it. summary: of a run that is finished already."""

    folder: RunFolder
    world: World
    identity: Identity
    config_yaml: str
    allow_changed: Sequence[str]
    say: Callable[[str], None]
    summary: Summary | None = None
    budget: Budget | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def finished(self) -> bool:
        """Whether the summary and the results of a complete training are in the folder."""
        return self.summary is not None

    def has_begun(self) -> bool:
        """Whether there is a checkpoint or a result in the folder; the same answer on every rank."""
        return bool(from_main(self.world.main and self.folder.has_begun(), self.world))

    def check(self) -> list[str]:
        """Locks the folder and refuses any other run than the one that began there; returns the keys that may differ and do."""
        if not self.folder.has_begun():  # then there is nothing to lose
            return []
        lock_folder(self.folder.path)
        before = recorded_identity(self.folder, self.say)
        return check_same(self.folder.path, before, self.identity, self.allow_changed)

    def begin(self, budget: Budget, images: Mapping[str, SplitRecord] | None = None) -> None:
        """Records what the run is and how many steps it takes: not before, so that a refused training leaves no folder.

        images: which ones the opened data has; a run that began with others is refused.
        """
        self.budget = budget
        if images:
            self.identity = {**self.identity, "images": dict(images)}
        if self.world.main:
            lock_folder(self.folder.path)
            remove_leftovers(self.folder.path)
            self.check()
            self.describe(self.folder)

    def describe(self, folder: RunFolder) -> None:
        """Writes what the run is into a folder: its own, or the one that takes its place."""
        write_text(folder.record, json.dumps(self.identity, indent=1) + "\n")
        write_text(folder.config, self.config_yaml)
        write_text(folder.plan, json.dumps(self._plan(), indent=1) + "\n")

    def finish(self, history: Sequence[EpochRecord], **result: Any) -> Summary:
        """Writes and returns the summary, on every rank the same. result: what the training made; `file` names its result."""
        if self.world.main:
            seconds = round(time.perf_counter() - self.began, 2)
            hashes = result_hashes(self.folder.path, result["file"])
            facts = {**result, "sha256": hashes, **_scores(history), "seconds": seconds, "plan": self._plan()}
            write_summary(self.folder.summary, facts)
        wait_for_all(self.world)
        return cast(Summary, from_main(read_summary(self.folder.summary) if self.world.main else None, self.world))

    def _plan(self) -> dict[str, Any]:
        assert self.budget is not None
        values = asdict(self.budget) | {"steps": self.budget.steps}
        if self.budget.limit is None:
            del values["limit"]  # it says how a recipe that counts steps ends
        return values


@contextmanager
def open_run(
    out: Path,
    identity: Identity,
    config: Config,
    world: World,
    observer: Observer,
    allow_changed: Sequence[str] = (),
) -> Iterator[Run]:
    """The run in folder `out`, which this process holds until the block ends; with its summary if it is finished.

    identity: what decides the result; a run that began in `out` must have the same one. allow_changed: dotted keys, or
    their beginnings, that may differ. Raises ConfigError with every difference, TlegError if another process runs there.
    """
    run = Run(RunFolder(out), world, identity, dump_yaml(config), allow_changed, observer.say)
    try:
        found = None
        if world.main:
            changed = run.check()
            found = finished_summary(run.folder, identity, changed, observer.say)
        run.summary = cast(Summary | None, from_main(found, world))
        yield run
    finally:
        unlock_folder(out)


def result_hashes(folder: Path, file: str) -> dict[str, str]:
    """Of the result and, if there is one, of its average over the steps; `tleg verify` compares them."""
    path = folder / file
    return {one.name: file_hash(one) for one in (path, path.with_stem(f"{path.stem}_ema")) if one.exists()}


def _scores(history: Sequence[EpochRecord]) -> Mapping[str, Any]:
    """Final scores, and top1 after each epoch; zero_epoch_top1 if the network was scored before its first step."""
    trained = [record for record in history if record["step"]]
    scores: dict[str, Any] = {"top1": [record["top1"] for record in trained]}
    if len(trained) < len(history):
        scores["zero_epoch_top1"] = history[0]["top1"]
        if "top1_at" in history[0]:
            scores["zero_epoch_top1_at"] = history[0]["top1_at"]
    if history and "ema_top1" in history[-1]:
        scores["ema_top1"] = [record.get("ema_top1") for record in trained]
    scores["final_top1"] = history[-1]["top1"] if history else None
    if history and "top1_at" in history[-1]:
        scores["top1_at"] = history[-1]["top1_at"]
    return scores
