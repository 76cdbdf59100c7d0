"""The paper's networks have the paper's sizes: three learngenes, and descendants that are timm's own."""

import pytest
import timm
import torch

from tleg_cli import plugin_manager
from tleg_cli.config_file import load_config
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.gene import Metadata
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import build_model

DEPTHS = {"tiny": [3, 6, 9, 12], "small": list(range(3, 13)), "base": list(range(3, 13))}


@pytest.mark.parametrize(("name", "millions"), [("tiny", 1.268), ("small", 4.305), ("base", 15.687)])
def test_a_learngene_has_the_published_size(name, millions):
    """With a head of 1000 classes; without it the paper's 1.075, 3.920 and 14.918 M."""
    config = load_config(name)
    data = config.data
    metadata = Metadata(config.backbone.name, {}, (12,), 1000, data.input)
    gene = new_aux_net(plugin_manager.get_backbone(config.backbone.name), get_basis("linear"), metadata).learngene()
    tensors = {**gene.theta, **gene.shared}
    assert round(sum(tensor.numel() for tensor in tensors.values()) / 1e6, 3) == millions
    head = sum(tensor.numel() for key, tensor in gene.shared.items() if key.startswith("head."))
    without = {1.268: 1.075, 4.305: 3.920, 15.687: 14.918}[millions]
    assert round((sum(tensor.numel() for tensor in tensors.values()) - head) / 1e6, 3) == without


@pytest.mark.parametrize("name", DEPTHS)
def test_the_preset_names_the_papers_depths(name):
    assert [depth for (depth,) in parse_depths(load_config(name).descendant.depths)] == DEPTHS[name]


@pytest.mark.parametrize(("name", "depth"), [(name, depth) for name, depths in DEPTHS.items() for depth in depths])
def test_a_descendant_is_timms_own_network(name, depth):
    config = load_config(name)
    with torch.device("meta"):
        ours = build_model(plugin_manager.get_backbone(config.backbone.name), {}, (depth,), 1000)
        timms = timm.create_model(
            f"deit_{name}_patch16_224", depth=depth, num_classes=1000, class_token=False, global_pool="avg"
        )
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, timms)]
    assert shapes[0] == shapes[1]
    assert sum(value.numel() for value in ours.parameters()) == sum(value.numel() for value in timms.parameters())


@pytest.mark.parametrize("name", DEPTHS)
def test_a_preset_has_the_published_recipe(name):
    """reference/paper.md; where the sources differ, the preset says why."""
    config = load_config(name)
    both = (config.aux, config.descendant)
    for recipe in both:
        assert (recipe.batch_size, recipe.accumulation, recipe.optimizer) == (128, 1, "adamw")
        assert (recipe.lr, recipe.lr_batch, recipe.min_lr, recipe.warmup_lr) == (5e-4, None, 1e-5, 1e-6)
        assert (recipe.eps, recipe.betas, recipe.weight_decay, recipe.clip_grad) == (1e-8, (0.9, 0.999), 0.05, None)
        assert (recipe.drop_rate, recipe.drop_path, recipe.smoothing, recipe.ema_decay) == (0.0, 0.1, 0.1, 0.99996)
    assert [recipe.warmup_epochs for recipe in both] == [5, 0]
    assert config.aux.epochs == 150
    assert config.descendant.epochs == {"tiny": 50, "small": 35, "base": 40}[name]
    if name == "small":
        assert config.descendant.recipe_at("11").epochs == 45
        assert config.descendant.recipe_at("10").epochs == 35
    augmentation = config.augmentation
    assert (augmentation.auto_augment, augmentation.color_jitter) == ("rand-m9-mstd0.5-inc1", 0.4)
    assert (augmentation.erase, augmentation.erase_mode, augmentation.erase_count) == (0.25, "pixel", 1)
    assert (augmentation.mixup, augmentation.cutmix) == (0.8, 1.0)
    assert (augmentation.mixup_prob, augmentation.mixup_switch) == (1.0, 0.5)
    assert augmentation.repeats == 3
    assert (config.data.interpolation, config.data.crop_pct, config.data.image_size) == ("bicubic", 0.875, 224)
    assert (config.seed, config.teacher.model, config.aux.depth) == (123, "levit_384", "12")
    how = config.aux.distillation
    assert (how.alpha, how.temperature, how.kind, how.reduction) == (1.0, 1.0, "soft", "batchmean")
