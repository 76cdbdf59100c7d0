"""Every method costs the same: what the plan says, and what the blocks of the networks really see."""

from collections import Counter

import pytest
import torch
from torch import nn

from tests.lab.conftest import EPOCH
from tests.tiny import ALONE
from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError
from tleg_cli.lab.choose import choose, open_study, trained_block_images
from tleg_cli.lab.folder import LabFolder
from tleg_cli.lab.run_cell import run_cell

METHODS = sorted(plugin_manager.initialisers())


def cells_of(file, *only):
    study = open_study(str(file))
    return study, choose(study, only, None)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_given_the_same_budget(protocol, method):
    study, cells = cells_of(protocol(METHODS, depths="2,3,4,6", budget=120, seeds=[3]), f"method={method}")
    assert study.block_images == 120 * 260
    trainings = {source.name: source for cell in cells for source in cell.sources} | {
        training.name: training for cell in cells for training in cell.own
    }
    batches = sum(64 * 6 for training in trainings.values() if training.steps)  # none is longer than a batch at depth 6
    assert study.block_images - batches < trained_block_images(cells) <= study.block_images


def test_the_blocks_see_as_many_images_as_planned(protocol, tmp_path):
    counted(protocol, tmp_path, "tleg")


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted({*METHODS} - {"tleg", "tleg-scaled", "every-nth-scaled", "any-depth-linear"}))
def test_the_blocks_of_all_methods_see_as_many_images_as_planned(protocol, tmp_path, method):
    counted(protocol, tmp_path, method)


def counted(protocol, tmp_path, method):
    """Counted in the networks themselves: every call of a block with gradients."""
    ranked = plugin_manager.get_initialiser(method).ranked
    study, cells = cells_of(protocol([method], budget=40 if ranked else 18))
    seen: Counter[str] = Counter()

    def count(module: nn.Module, inputs, output) -> None:
        if type(module).__name__ == "Block" and torch.is_grad_enabled():
            seen["block-images"] += len(inputs[0])

    hook = nn.modules.module.register_module_forward_hook(count)
    try:
        rows = [run_cell(study, cell, LabFolder(tmp_path / "out"), ALONE) for cell in cells]
    finally:
        hook.remove()
    assert [row["status"] for row in rows] == ["done", "done"], rows
    assert seen["block-images"] + cells[0].ranking == trained_block_images(cells)
    assert rows[0]["source_block_images"] + sum(row["block_images"] for row in rows) == trained_block_images(cells)
    for row in rows:
        assert 0 <= row["top1"] <= 100
        assert row["trained"] or row["top1"] == row["start"]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("distilled", "gives distilled at depth 2 3 steps, less than one epoch of 4"),
        ("tleg", "gives tleg at depth 2 2 steps"),
        ("any-depth-linear", "gives the source of any-depth-linear"),
    ],
)
def test_a_budget_of_less_than_an_epoch_is_refused_with_one_that_suffices(protocol, method, words):
    small = {"distilled": 5.5, "tleg": 6, "any-depth-linear": 2}[method]
    with pytest.raises(ConfigError, match=words) as caught:
        cells_of(protocol([method], budget=small))
    enough = int(str(caught.value).split("has to be ")[1].split()[0])
    for cell in choose(open_study(str(protocol([method], budget=enough))), (), None):
        assert all(source.steps >= EPOCH for source in cell.sources)
        assert cell.target.steps >= EPOCH or method == "any-depth-linear"
