"""The path that GPUs take: the device leaves a bad step out by itself, and the host never waits in a step. Run on the CPU."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import ALONE, NOT_ONE_PIXEL, STEPS, Onlooker, tiny_config
from tests.training.test_bad_numbers import keep_checkpoints, poisoned, same, weights
from tleg_cli.augment import layer, pipeline
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.erasing import erase
from tleg_cli.config import Config
from tleg_cli.data.batches import Batch
from tleg_cli.errors import TlegError
from tleg_cli.training import loop, state
from tleg_cli.training import train_teacher as teacher_training
from tleg_cli.training.checkpoint import newest_checkpoint
from tleg_cli.training.ema import update_unless
from tleg_cli.training.health import is_bad, late_flags
from tleg_cli.training.saving import Training
from tleg_cli.training.step import StepResult
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants
from tleg_cli.training.train_teacher import train_teacher


@pytest.fixture
def late(monkeypatch):
    """The CPU behaves as a GPU does: torch's fused AdamW has a kernel for it too."""
    monkeypatch.setattr(state, "can_check_late", lambda recipe, device: recipe.optimizer == "adamw")


@pytest.fixture
def train(tmp_path, monkeypatch):
    def run(loss, *settings: str, out: str = "run", onlooker: Onlooker | None = None) -> Onlooker:
        monkeypatch.setattr(teacher_training, "label_loss", loss)
        look = onlooker or Onlooker()
        train_teacher(tiny_config("teacher.recipe.epochs=2", *settings), tmp_path / out, ALONE, look)
        return look

    return run


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize("bad", [(), (1, 3)], ids=["finite", "two bad steps"])
def test_the_weights_are_those_of_the_path_that_asks_at_once(train, tmp_path, monkeypatch, bad):
    """To rounding, which grows from step to step: hence few of them, at a low rate."""
    settings = ("on_nan=skip:5", "ema_decay=0.9", "clip_grad=1.0", "lr=1e-4", "epochs=1")
    settings = tuple(f"teacher.recipe.{setting}" for setting in settings)
    train(poisoned(*bad), *settings, out="at-once")
    monkeypatch.setattr(state, "can_check_late", lambda recipe, device: True)
    look = train(poisoned(*bad), *settings, out="late")
    asked, found = (newest_checkpoint(tmp_path / name / "checkpoints")[0] for name in ("at-once", "late"))
    assert asked is not None
    assert found is not None
    for part in ("model", "ema", "optimizer"):
        close(dict(found.tensors[part]), dict(asked.tensors[part]))
    assert found.state["skipped"] == asked.state["skipped"] == len(bad)
    assert look.records[-1]["loss"] == pytest.approx(asked.state["history"][-1]["loss"], rel=1e-4)


@pytest.mark.slow  # half precision is slow on a processor
def test_with_fp16_the_scale_falls_on_the_device_as_it_does_at_once(train, tmp_path, monkeypatch):
    """A gradient that overflows is left out, but it isn't a bad step: EMA and count go on."""
    settings = tuple(
        f"teacher.recipe.{setting}"
        for setting in ("precision=fp16", "ema_decay=0.9", "lr=1e-4", "epochs=1", "clip_grad=1")
    )
    settings += (NOT_ONE_PIXEL,)
    train(poisoned(2, gradient_only=True), *settings, out="at-once")
    monkeypatch.setattr(state, "can_check_late", lambda recipe, device: True)
    train(poisoned(2, gradient_only=True), *settings, out="late")
    asked, found = (newest_checkpoint(tmp_path / name / "checkpoints")[0] for name in ("at-once", "late"))
    assert asked is not None
    assert found is not None
    assert found.state["scaler"] == asked.state["scaler"]
    assert found.state["scaler"]["scale"] == 2**15
    assert found.state["skipped"] == asked.state["skipped"] == 0
    for part in ("model", "ema"):  # half precision makes more of the fused kernel's rounding in the optimiser's moments
        close(dict(found.tensors[part]), dict(asked.tensors[part]))
    with pytest.raises(TlegError, match="step 1: "):
        train(poisoned(1), *settings, out="loss")


@pytest.mark.parametrize("scale", [None, 65536.0, 1.0])
@pytest.mark.parametrize("loss", [1.0, float("nan")])
@pytest.mark.parametrize("norm", [1.0, float("inf")])
def test_the_flag_is_what_the_host_would_say(scale, loss, norm):
    scaler = torch.amp.GradScaler("cpu", enabled=scale is not None, init_scale=scale or 1.0)
    scaler.scale(torch.tensor(1.0))
    values = torch.tensor(loss), torch.tensor(norm)
    bad, left_out = late_flags(*values, scaler, ALONE)
    assert bool(bad) is is_bad(*values, scaler, ALONE)
    assert bool(left_out) is not bool(torch.isfinite(torch.stack(values)).all())


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("gradient_only", [False, True], ids=["loss", "gradient"])
def test_stop_names_the_very_step_and_no_checkpoint_is_spoiled(train, tmp_path, gradient_only):
    with pytest.raises(TlegError, match=r"step 6: .*on_nan is stop.*last checkpoint is as it was"):
        train(poisoned(6, gradient_only=gradient_only))
    found, passed_over = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert (found.state["step"], passed_over) == (STEPS, [])
    (file,) = (tmp_path / "run").glob("bad-step-*.json")
    facts = json.loads(file.read_text())
    assert (facts["step"], facts["epoch"], facts["gradient_norm"]) == (6, 1, "nan")
    assert len(facts["ranks"][0]["samples"]) == 256


@pytest.mark.usefixtures("late")
def test_skip_leaves_out_the_step_and_nothing_else(train, tmp_path):
    look = keep_checkpoints(tmp_path / "run", tmp_path / "kept")
    settings = ("teacher.recipe.on_nan=skip:2", "teacher.recipe.checkpoint_every=1", "teacher.recipe.ema_decay=0.9")
    train(poisoned(2), *settings, onlooker=look)
    before, after = (tmp_path / "kept" / f"step-{number:08d}" for number in (2, 3))
    for part in ("model", "optimizer", "ema"):  # with the statistics of batch norm
        assert same(load_file(before / f"{part}.safetensors"), load_file(after / f"{part}.safetensors"))
    assert any("step 2:" in line and "left out" in line for line in look.said)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_the_average_is_timms_unless_the_step_was_bad():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    ours, theirs = ModelEmaV3(network, decay=0.9), ModelEmaV3(network, decay=0.9)
    for number in range(4):
        nn.init.normal_(network[0].weight)
        network(torch.randn(8, 4))
        update_unless(torch.tensor(0.0), ours, network, number)
        theirs.update(network, step=number)
    close(ours.module.state_dict(), theirs.module.state_dict())
    before = {name: value.clone() for name, value in ours.module.state_dict().items()}
    nn.init.normal_(network[0].weight)
    update_unless(torch.tensor(1.0), ours, network, 4)
    assert same(before, ours.module.state_dict())


WAITING = {"item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero", "cuda"}
WAITING_KERNELS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal.", "bincount")


def _where(what: str) -> str:
    """`what` and who called it, outside of this file."""
    frames = [frame for frame in traceback.extract_stack() if "tests/" not in frame.filename]
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "_python_dispatch" not in frame.filename
    ]
    return f"{what} in {' < '.join(reversed(places[-6:]))}"


class _Calls(TorchFunctionMode):
    """Calls of Python that would make the host wait for a GPU. The basis of `expand` is on the host anyway."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in WAITING and "expand" not in sys._getframe(1).f_code.co_name:
            self.found.append(_where(func.__name__))
        return func(*args, **(kwargs or {}))


class _Kernels(TorchDispatchMode):
    """Kernels that would make the host wait for a GPU."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in WAITING_KERNELS):
            self.found.append(_where(str(func)))
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch) -> Iterator[list[str]]:
    """What waits, in all steps but the data's: a step, its end, and the late check."""
    found: list[str] = []

    take = loop._step

    def watch(training: Training, batches: Iterator[Batch], lr: float) -> StepResult:
        ready = [next(batches) for _ in range(training.job.recipe.accumulation)]  # data come from the host
        with _Calls(found), _Kernels(found):
            return take(training, iter(ready), lr)

    monkeypatch.setattr(loop, "_step", watch)
    yield found


FULL = (
    "augmentation.auto_augment=rand-m9-mstd0.5-inc1", "augmentation.erase=0.25", "augmentation.mixup=0.8",
    "augmentation.cutmix=1.0", "aux.clip_grad=1.0", "aux.ema_decay=0.9", "aux.drop_path=0.1", "aux.accumulation=2", "aux.batch_size=256",
    "descendant.clip_grad=1.0", "descendant.ema_decay=0.9", "teacher.recipe.ema_decay=0.9", "aux.on_nan=skip:3",
    "teacher.recipe.clip_grad=1.0", "descendant.epochs=1", "aux.epochs=3", "aux.precision=bf16",
)  # fmt: skip


def behave_as_a_gpu(monkeypatch) -> None:
    """The augmentation's own branches for GPUs, which don't count on the host."""

    def erase_without_counting(images: torch.Tensor, **how) -> None:
        images.copy_(erase(images, **how))

    monkeypatch.setattr(compiled, "usable", lambda images: False)
    monkeypatch.setattr(layer, "by_rows", layer.by_mask)
    monkeypatch.setattr(pipeline, "erase_in_place", erase_without_counting)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize(
    "which", ["teacher", "aux", "any depth", "descendants", pytest.param("fp16", marks=pytest.mark.slow)]
)
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, teacher, which):
    behave_as_a_gpu(monkeypatch)
    extra = ("aux.depth=2-4", "expansion.step=1") if which == "any depth" else ()
    extra = ("aux.precision=fp16", "aux.epochs=1") if which == "fp16" else extra
    config: Config = tiny_config(*FULL, *extra, teacher=teacher)
    look = Onlooker()
    if which == "descendants":
        train_aux(config, tmp_path / "aux", ALONE, look)
    with watched(monkeypatch) as found:
        if which == "teacher":
            train_teacher(config, tmp_path / "run", ALONE, look)
        elif which == "descendants":
            train_descendants(config, tmp_path / "aux" / "learngene.pt", [(2,)], tmp_path / "run", ALONE, look)
        else:
            train_aux(config, tmp_path / "run", ALONE, look)
    assert look.steps
    assert not found, "\n".join(sorted(set(found)))


def test_the_count_sees_what_waits(monkeypatch):
    """Else a zero means nothing."""
    found: list[str] = []
    with _Calls(found), _Kernels(found):
        value = torch.ones(3)
        bool(value.sum() > 0)
        float(value[0])
        value.tolist()
        value[value > 0]
    assert len(found) >= 4
