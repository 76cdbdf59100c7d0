"""gradient_checkpointing: the same gradients bit by bit, with fewer activations kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.processes import aux_command, start
from tests.tiny import ALONE, Onlooker, as_options, tiny_config
from tests.training.test_any_depth import ANY, SWIN, same
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.models.descendant import expanded_model
from tleg_cli.training.gradient_checkpointing import checkpoint_blocks
from tleg_cli.training.task import resolve
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_teacher import train_teacher

DROPS = {"drop_rate": 0.1, "drop_path_rate": 0.4}


def aux_net(*settings: str) -> AuxNet:
    task = resolve(tiny_config(*settings))
    torch.manual_seed(0)
    depths = task.draw.all if task.draw else ()
    metadata = task.metadata([str(number) for number in range(10)])
    return new_aux_net(task.backbone, task.basis, metadata, task.expansion, depths, **DROPS)


def after_one_pass(network: nn.Module, *depth: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], int]:
    """The gradients, and how many bytes of activations were kept for them: what isn't a weight."""
    kept: dict[int, int] = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(1)
    images = torch.randn(16, 3, 8, 8)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(images, *depth).square().mean().backward()
    found = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    return found, sum(kept.values())


CASES = {
    "vit": ((), [(3,)]),
    "swin": ((*SWIN, "aux.depth='2:3'"), [(2, 3)]),
    "vit at any depth": (ANY, [(2,), (5,)]),
    "swin at any depth": ((*SWIN, *ANY, "aux.depth='2:2-4'"), [(2, 2), (2, 4)]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_are_the_same_bit_by_bit(case):
    settings, depths = CASES[case]
    network = aux_net(*settings)
    plain = [after_one_pass(network, depth) for depth in depths]
    checkpoint_blocks(network, network.stages)
    for (expected, kept), depth in zip(plain, depths, strict=True):
        found, left = after_one_pass(network, depth)
        assert same(found, expected)
        assert len(found) == len(dict(network.named_parameters()))
        assert left < 0.5 * kept


def test_a_descendants_gradients_are_the_same():
    gene = aux_net().learngene()
    network = expanded_model(gene, (5,), **DROPS)
    expected, kept = after_one_pass(network)
    checkpoint_blocks(network, gene.stages)
    found, left = after_one_pass(network)
    assert same(found, expected)
    assert left < 0.5 * kept


def learngene_of(out: Path) -> dict[str, torch.Tensor]:
    gene = read_learngene(out / "learngene.pt")
    return {**gene.theta, **gene.shared}


def test_a_training_ends_at_the_same_weights_and_may_go_on_with_it(tmp_path, teacher):
    """With a second teacher, accumulation, drop path and EMA; switched on in the middle of a run."""
    from tests.training.test_resume import stop_at

    settings = (*ANY, "aux.in_place.weight=0.5", "aux.accumulation=2", "aux.drop_path=0.2", "aux.epochs=2")
    train_aux(tiny_config(*settings, teacher=teacher), tmp_path / "plain", ALONE, Onlooker())
    with pytest.raises(Exception, match="stopped at step"):
        train_aux(tiny_config(*settings, teacher=teacher), tmp_path / "again", ALONE, stop_at(2))
    config = tiny_config(*settings, "aux.gradient_checkpointing=true", teacher=teacher)
    train_aux(config, tmp_path / "again", ALONE, Onlooker())
    assert same(learngene_of(tmp_path / "plain"), learngene_of(tmp_path / "again"))


def test_a_teacher_has_no_blocks_for_it(tmp_path):
    with pytest.raises(ConfigError, match="gradient_checkpointing is for the blocks"):
        train_teacher(tiny_config("teacher.recipe.gradient_checkpointing=true"), tmp_path, ALONE, Onlooker())


@pytest.mark.slow
def test_two_processes_end_at_the_same_weights(tmp_path, teacher):
    for name, settings in (("plain", ()), ("again", ("aux.gradient_checkpointing=true",))):
        words = aux_command(
            teacher, tmp_path / name, "--gpus", 2, *as_options(*ANY, *settings), epochs=1, batch_size=128
        )
        assert start(words, tmp_path / f"{name}.err").wait() == 0, (tmp_path / f"{name}.err").read_text()
    assert same(learngene_of(tmp_path / "plain"), learngene_of(tmp_path / "again"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_blocks_are_run_again_too(tmp_path, teacher):
    settings = (*ANY, "aux.compile=true", "aux.epochs=1")
    for name, more in (("plain", ()), ("again", ("aux.gradient_checkpointing=true",))):
        watch = Onlooker()
        train_aux(tiny_config(*settings, *more, teacher=teacher), tmp_path / name, ALONE, watch)
        assert any(line.startswith("torch.compile: done in") for line in watch.said)
    for name, value in learngene_of(tmp_path / "plain").items():
        torch.testing.assert_close(learngene_of(tmp_path / "again")[name], value, rtol=1e-4, atol=1e-5)
