"""Everything that changes while training: into a checkpoint, and out of one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.config import Recipe
from tleg_cli.errors import FileFormatError, TlegError, first_line
from tleg_cli.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from tleg_cli.training.distributed import World, replicate
from tleg_cli.training.optim import can_check_late, make_optimizer
from tleg_cli.training.records import EpochRecord

# what a checkpoint holds in addition to tensors, and of which type; old ones may lack some
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "step": (int,), "history": (list,), "epoch_loss": (float, int), "epoch_steps": (int,), "epoch_seconds": (float, int),
    "epoch_wait": (float, int), "skipped": (int,), "rollbacks": (int,),
}  # fmt: skip


@dataclass
class State:
    """What a checkpoint holds, with the network itself."""

    network: nn.Module
    replica: nn.Module  # the network, or what averages its gradients over the ranks; training steps call this one
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Any  # timm.utils.ModelEmaV3, or None
    step: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    epoch_loss: Tensor | float = 0.0  # summed over the steps of the current epoch; stays on the device
    epoch_steps: int = 0  # that it was summed over: all but the bad ones
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0  # of those, waiting for data
    skipped: int = 0  # steps of the run left out because a value was not finite
    rollbacks: int = 0
    checks_late: bool = False  # see late_checks.py
    parameters: Mapping[str, nn.Parameter] = field(
        init=False
    )  # once: an any-depth network has thousands of modules to look through

    def __post_init__(self) -> None:
        self.parameters = dict(self.network.named_parameters())


def new_state(network: nn.Module, recipe: Recipe, lr: float, world: World) -> State:
    """The state before the first step, on the world's device. The GradScaler works for fp16 only, and is saved in any case."""
    network = network.to(world.device)
    late = can_check_late(recipe, world.device)
    optimizer = make_optimizer(network, recipe, lr, fused=late)
    scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "fp16")
    ema = None
    if recipe.ema_decay is not None:
        from timm.utils import ModelEmaV3

        ema = ModelEmaV3(network, decay=recipe.ema_decay)
    return State(
        network, replicate(network, world, recipe.gradient_compression), optimizer, scaler, ema, checks_late=late
    )


def content_of(state: State, epoch_loss: float) -> Checkpoint:
    """A checkpoint of the state. epoch_loss: the mean over the ranks.

    Raises TlegError if a weight is not finite: what is wrong must not replace what was right.
    """
    plain = {name: getattr(state, name) for name in _PLAIN} | {"epoch_loss": epoch_loss}
    tensors, values = optimizer_tensors(state.optimizer)
    networks = {"model": state.network.state_dict()}
    if state.ema is not None:
        networks["ema"] = state.ema.state_dict()
    for network, weights in networks.items():
        _refuse_bad_weights(network, weights, state.step)
    return Checkpoint(
        {**networks, "optimizer": tensors}, {**plain, "optimizer": values, "scaler": state.scaler.state_dict()}
    )


def _refuse_bad_weights(network: str, weights: dict[str, Tensor], step: int) -> None:
    floating = {name: value for name, value in weights.items() if value.is_floating_point() and value.numel()}
    if not floating:
        return
    largest = torch.stack([value.abs().amax().float() for value in floating.values()])
    if not bool(torch.isfinite(largest).all()):
        bad = [name for name, value in floating.items() if not bool(torch.isfinite(value).all())]
        raise TlegError(
            f"at step {step} {len(bad)} weights of the {network} are not finite ({', '.join(bad[:3])}, ...); this checkpoint "
            "is not written, the one before is as it was. Lower lr, set clip_grad, or use precision=fp32"
        )


def restore_state(state: State, found: Checkpoint) -> None:
    """Puts everything back. Raises FileFormatError for a checkpoint of another network."""
    restore_weights(state, found)
    for name, types in _PLAIN.items():
        value = found.state.get(name, getattr(state, name))
        if type(value) not in types or (name == "history" and not all(map(_is_record, value))):
            raise FileFormatError(
                f"the checkpoint of step {found.state['step']} holds {name} = {repr(value)[:80]}; choose another --out"
            )
        setattr(state, name, value)


def _is_record(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("top1"), float | int)


def restore_weights(state: State, found: Checkpoint) -> None:
    """Network, optimiser, EMA and scaler as they were; step, history and counters stay."""
    try:
        state.network.load_state_dict(found.tensors["model"], strict=True)
        restore_optimizer(state.optimizer, found.tensors["optimizer"], found.state["optimizer"])
        state.scaler.load_state_dict(found.state["scaler"])
        if state.ema is not None:
            state.ema.load_state_dict(found.tensors["ema"], strict=True)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise FileFormatError(
            f"the checkpoint of step {found.state.get('step')} is of another training ({first_line(error)}); "
            "choose another --out"
        ) from error
