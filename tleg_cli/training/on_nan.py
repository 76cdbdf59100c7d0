"""What the recipe's on_nan does about a step whose loss or gradient is not finite: stop, skip:N or rollback."""

from __future__ import annotations

from typing import Any

from tleg_cli.errors import TlegError
from tleg_cli.training.health import MAX_ROLLBACKS, write_down
from tleg_cli.training.saving import Training, newest, save
from tleg_cli.training.state import restore_weights
from tleg_cli.training.step import StepResult, end_step


def handle_bad_step(training: Training, step: int, result: StepResult, lr: float) -> None:
    """stop raises; skip leaves the step out; rollback puts the weights of the last checkpoint in, and the data goes on.

    step: its number, from 0; the state may be some steps further. Raises TlegError for stop, and where the others are used up.
    """
    state, policy = training.state, training.job.recipe.on_nan
    name, _, number = policy.partition(":")
    left = {"stop": 0, "skip": int(number or 0) - state.skipped, "rollback": MAX_ROLLBACKS - state.rollbacks}[name]
    facts = _bad_facts(training, step, lr, policy if left > 0 or name == "stop" else f"{policy}, used up: stop")
    file = write_down(training.run.folder.path, facts, result.norms, result.loss, training.memory, training.run.world)
    line = f"step {step}: loss {float(result.loss):.4g}, gradient norm {float(result.norms.total):.4g} ({file})"
    if left <= 0:
        raise TlegError(
            f"{line}; not finite on some rank, and on_nan is {policy}. No weights were spoiled: the last checkpoint is as it was. "
            "Lower lr, set clip_grad, use precision=fp32, or on_nan=skip:N or rollback"
        )
    if result.flag is None:  # else it is counted already
        end_step(state)
        state.step += 1
    else:
        state.epoch_steps -= 1
    state.skipped += 1
    training.observer.say(
        f"{line}; not finite, left out" + ("; back to the last checkpoint" if name == "rollback" else "")
    )
    if name == "rollback":
        state.rollbacks += 1
        found = newest(training)
        assert found is not None  # resume wrote one
        restore_weights(state, found)
        save(training)  # so that a run that is killed now goes on from the same weights


def answer_late(training: Training, *, all_of_them: bool = False) -> None:
    """Acts on the bad ones of the steps whose flags have arrived; or of all, before a checkpoint or a score."""
    for one in training.late.ripe(all_of_them=all_of_them):
        if one.bad:
            handle_bad_step(training, one.step, one.result, one.lr)


def _bad_facts(training: Training, step: int, lr: float, policy: str) -> dict[str, Any]:
    """samples: coded ids of this rank's images in this step, as the loader's order has them; see tleg_cli.data.batches."""
    state, budget, parts = training.state, training.budget, training.job.recipe.accumulation
    epoch, place = divmod(step, budget.steps_per_epoch)
    order = getattr(training.job.train, "order", None)
    batches = list(order(epoch))[place * parts : (place + 1) * parts] if order else []
    return {
        "step": step,
        "epoch": epoch,
        "lr": lr,
        "loss_scale": state.scaler.get_scale(),
        "on_nan": policy,
        "samples": [int(code) for batch in batches for code in batch],
    }
