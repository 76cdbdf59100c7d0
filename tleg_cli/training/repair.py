"""A run folder that lost something: what its newest checkpoint can restore is restored, and every repair is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.errors import TlegError
from tleg_cli.files import file_hash
from tleg_cli.training.checkpoint import newest_state
from tleg_cli.training.identity import Identity
from tleg_cli.training.records import Summary
from tleg_cli.training.run_folder import RunFolder, damaged_results, read_json, read_steps, read_summary, write_metrics

Say = Callable[[str], None]


def recorded_identity(folder: RunFolder, say: Say) -> Mapping[str, Any]:
    """What run.json records; if it is damaged, what the newest checkpoint does. Raises TlegError if neither can be read."""
    try:
        return read_json(folder.record)
    except TlegError as error:
        state = newest_state(folder.checkpoints)
        if state is None or not isinstance(state.get("identity"), dict):
            raise
        say(f"warning: {error}; its values are taken from the newest checkpoint")
        return dict(state["identity"])


def finished_summary(folder: RunFolder, identity: Identity, changed: Sequence[str], say: Say) -> Summary | None:
    """The summary of a run that has nothing left to do. None if it is to be trained on, or its results written again.

    changed: keys in which this command differs from the finished run, all of them allowed. Raises TlegError if something is
    missing and no checkpoint is there to restore it from.
    """
    try:
        summary = read_summary(folder.summary)
    except TlegError as error:
        _to_restore(folder, str(error), say)
        return None
    if summary is None:
        return None
    if _is_longer(identity, summary):
        _to_restore(folder, f"{folder.path} is finished, but now has more epochs", say, "training goes on")
        return None
    damaged = damaged_results(folder.path, summary)
    if damaged:
        _to_restore(folder, f"{folder.path} is finished, but {' and '.join(damaged)}", say)
        _keep_changed(folder, summary, say)
        return None
    repair_metrics(folder, say)
    say(f"{folder.path} is finished already" + (f"; {', '.join(changed)} has no effect any more" if changed else ""))
    return summary


def _to_restore(
    folder: RunFolder, why: str, say: Say, what: str = "it is written again from the newest checkpoint"
) -> None:
    if newest_state(folder.checkpoints) is None:
        raise TlegError(
            f"{why}, and no complete checkpoint can restore it; restore the missing file, or delete {folder.path} to "
            "train again"
        )
    say(f"warning: {why}; {what}")


def _is_longer(identity: Identity, summary: Summary) -> bool:
    """Whether this command trains for more epochs than the finished run did."""
    recipe, plan = identity["recipe"], summary.get("plan", {})
    if recipe.get("steps") is not None:
        return type(plan.get("steps")) is int and recipe["steps"] > plan["steps"]
    done = plan.get("epochs")
    return type(done) is int and recipe["epochs"] + recipe["cooldown_epochs"] > done


def _keep_changed(folder: RunFolder, summary: Summary, say: Say) -> None:
    """A result that somebody changed on purpose must not be lost when it is written again."""
    for name in summary.get("sha256", {}):
        file = folder.path / Path(name).name
        if file.is_file() and file_hash(file) != summary["sha256"][name]:
            kept = file.with_name(f"{file.name}.changed")
            file.replace(kept)
            say(f"the changed file is kept as {kept}")


def repair_metrics(folder: RunFolder, say: Say) -> None:
    """Writes metrics.jsonl again if one of its lines can't be read, as after a crash of the disk."""
    problem = metrics_problem(folder)
    state = newest_state(folder.checkpoints) if problem else None
    if state is not None and all(isinstance(record, dict) for record in state.get("history", ())):
        write_metrics(folder, state["history"], read_steps(folder, state["step"]))
        say(f"warning: {problem}; written again from the newest checkpoint")


def metrics_problem(folder: RunFolder) -> str | None:
    """The first line of metrics.jsonl that is not a record, in words; None if there is none, or no file."""
    try:
        lines = folder.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for number, line in enumerate(lines, 1):
        try:
            if isinstance(json.loads(line), dict):
                continue
        except (ValueError, RecursionError):
            pass
        return f"line {number} of {folder.metrics} is damaged"
    return None
