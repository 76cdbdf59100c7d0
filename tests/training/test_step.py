"""One optimiser step: a sum over parts, clipped once; and rates that fall from layer to layer."""

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from tests.tiny import ALONE, NOT_ONE_PIXEL, Onlooker, tiny_config
from tleg_cli.config import Recipe
from tleg_cli.training.evaluate import has_units_for
from tleg_cli.training.job import Job
from tleg_cli.training.losses import label_loss
from tleg_cli.training.optim import Budget, make_optimizer, make_schedule
from tleg_cli.training.state import new_state
from tleg_cli.training.step import take_step
from tleg_cli.training.train_teacher import train_teacher


def gradients(accumulation: int, clip: float | None) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """Of one step over 32 images in equal parts, as they are when the optimiser has used them; weights after SGD; the loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.GELU(), nn.Linear(16, 10))
    values = tiny_config().aux.model_dump(include=set(Recipe.model_fields))
    recipe = Recipe(
        **{**values, "accumulation": accumulation, "optimizer": "sgd", "weight_decay": 0.0, "precision": "fp32"}
        | {"clip_grad": clip, "batch_size": 32 // accumulation}
    )
    images = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(32) % 10
    parts = zip(images.chunk(accumulation), labels.chunk(accumulation), strict=True)
    job = SimpleNamespace(
        objective=label_loss, recipe=recipe, seed=0, draw=None, in_place=None,
        augment=lambda images, labels, generator: (images / 25.0, nn.functional.one_hot(labels, 10).float()),
    )  # fmt: skip
    state = new_state(model, recipe, 0.5, ALONE)
    taken = take_step(_as_job(job), state, iter(list(parts)), ALONE)
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return found, torch.cat([value.detach().flatten() for value in model.parameters()]), float(taken.loss)


def _as_job(job: SimpleNamespace) -> Job:
    return job  # type: ignore[return-value]  # the step needs no loaders


@pytest.mark.parametrize("clip", [None, 0.1])
def test_four_parts_give_the_gradients_of_one_batch_of_four_times_the_size(clip):
    whole, weights, loss = gradients(1, clip)
    parts, others, same_loss = gradients(4, clip)
    assert len(whole) == 4
    for name, gradient in whole.items():
        assert gradient.norm() > 1e-3
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(others, weights, rtol=1e-5, atol=1e-6)
    assert abs(loss - same_loss) < 1e-5
    if clip is not None:
        total = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
        assert float(total) == pytest.approx(clip, rel=1e-3)


def test_layer_decay_gives_each_block_its_share_of_the_rate_at_every_step():
    """BEiT's rule (Bao et al. 2022): the head has the whole rate, each layer below it `layer_decay` times that of the one above."""
    model = timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=32, num_heads=2, img_size=32, num_classes=10)
    values = tiny_config().aux.model_dump(include=set(Recipe.model_fields))
    recipe = Recipe(**{**values, "layer_decay": 0.5, "epochs": 2, "warmup_epochs": 0, "min_lr": 1e-6})
    optimizer = make_optimizer(model, recipe, 0.8)
    set_rate = make_schedule(optimizer, recipe, Budget(64, 32, 2, 2, 0.8))
    names = {id(value): name for name, value in model.named_parameters()}
    for step in range(4):
        set_rate(step)
        rates = {names[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}
        top = rates["head.weight"]
        for block in range(3):
            assert rates[f"blocks.{block}.attn.qkv.weight"] == pytest.approx(top * 0.5 ** (3 - block), rel=1e-6)
        assert rates["patch_embed.proj.weight"] == pytest.approx(top * 0.5**4, rel=1e-6)
        assert rates["blocks.1.norm1.bias"] == rates["blocks.1.mlp.fc1.weight"]
    assert set_rate(0) == pytest.approx(0.8)
    assert set_rate(3) < 0.4


def test_a_precision_that_the_processor_is_slow_at_is_said(tmp_path):
    for precision in ("fp32", "bf16"):
        onlooker = Onlooker()
        settings = (f"teacher.recipe.precision={precision}", NOT_ONE_PIXEL)
        train_teacher(tiny_config(*settings), tmp_path / precision, ALONE, onlooker)
        said = any(f"no native {precision} support" in line for line in onlooker.said)
        assert said is not has_units_for(precision)
