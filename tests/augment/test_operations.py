"""Every operation against timm's own on PIL images: same name, same magnitude, same sign."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from tleg_cli.augment import layer
from tleg_cli.augment.colour import BLENDS, TABLES, histogram, look_up, mix_in
from tleg_cli.augment.drawn_operations import UNTOUCHED, DrawnOperations
from tleg_cli.augment.geometry import GEOMETRIC, pixel_matrices, resample, to_theta
from tleg_cli.augment.layer import by_mask, by_rows
from tleg_cli.augment.levels import LEVELS

FILL = (124, 116, 104)
COLOURS = [name for name, level in LEVELS.items() if level.operation not in GEOMETRIC]
MAGNITUDES = [0, 0.7, 3, 5, 8.6, 10]


def choice_of(name, magnitude, sign, batch):
    level = torch.full((batch,), magnitude / 10, dtype=torch.float64)
    argument = LEVELS[name].argument(level, torch.full_like(level, sign))
    return DrawnOperations((LEVELS[name].operation,), torch.zeros(batch, dtype=torch.int64), argument)


@pytest.fixture
def timms(monkeypatch, to_tensor):
    """timm's own operation on PIL images, with its coin for the sign held fast."""

    def run(name, magnitude, sign, images, **kwargs):
        monkeypatch.setattr(auto_augment.random, "random", lambda: 0.9 if sign < 0 else 0.1)
        to_arguments = auto_augment.LEVEL_TO_ARG[name]
        arguments = to_arguments(magnitude, {}) if to_arguments else ()
        return to_tensor(
            [auto_augment.NAME_TO_OP[name](image, *arguments, fillcolor=FILL, **kwargs) for image in images]
        )

    return run


def difference(ours, theirs):
    return (ours.int() - theirs.int()).abs()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_timms(apply, timms, to_tensor, pictures, name, magnitude, sign):
    ours = apply(to_tensor(pictures), choice_of(name, magnitude, sign, len(pictures)), FILL)
    assert torch.equal(ours, timms(name, magnitude, sign, pictures))


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (5, 2)])
@pytest.mark.parametrize("name", COLOURS)
def test_colours_of_tiny_images(apply, timms, to_tensor, name, size):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8))
    ours = apply(to_tensor([image]), choice_of(name, 9, 1, 1), FILL)
    assert torch.equal(ours, timms(name, 9, 1, [image]))


@pytest.mark.parametrize("magnitude", [12, 16, 25])
@pytest.mark.parametrize("name", COLOURS)
def test_magnitudes_beyond_ten(apply, timms, to_tensor, pictures, name, magnitude):  # mmax
    ours = apply(to_tensor(pictures), choice_of(name, magnitude, -1, len(pictures)), FILL)
    assert torch.equal(ours, timms(name, magnitude, -1, pictures))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_has_timms_matrix_border_and_fill(timms, to_tensor, photographs, name, magnitude, sign):
    choice = choice_of(name, magnitude, sign, len(photographs))
    fill = torch.tensor(FILL).view(1, 3, 1, 1).float()
    ours = resample(to_tensor(photographs), to_theta(pixel_matrices(choice, 96, 128), 96, 128), fill, mode="bilinear")
    theirs = timms(name, magnitude, sign, photographs, resample=Image.BILINEAR)
    off = difference(ours, theirs)
    assert (off > 1).float().mean() < 0.001  # pixels on the very border, where one rounds in and the other out
    assert off.float().mean() < 0.05


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [3, 9])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_is_bicubic_and_turns_the_right_way(apply, timms, to_tensor, photographs, name, magnitude, sign):
    ours = apply(to_tensor(photographs), choice_of(name, magnitude, sign, len(photographs)), FILL)
    right, wrong = (
        difference(ours, timms(name, magnitude, s, photographs, resample=Image.BICUBIC)).float().mean()
        for s in (sign, -sign)
    )
    bilinear = difference(ours, timms(name, magnitude, sign, photographs, resample=Image.BILINEAR))
    assert right < 1.0  # Pillow's cubic has a = -1, torch's -0.75
    assert wrong > 10 * right
    assert right < bilinear.float().mean()


def test_histogram(to_tensor, pictures):
    images = to_tensor(pictures)
    expected = [image.histogram() for image in pictures]
    assert histogram(images).flatten(1).tolist() == expected


def everything(batch):
    """A choice in which every operation occurs, with arguments that suit it, and one sample is untouched."""
    names = [*(name for name in LEVELS if not name.endswith("Increasing"))]
    level = torch.full((batch,), 0.9, dtype=torch.float64)
    index = torch.arange(batch) % (len(names) + 1) - 1
    arguments = torch.stack([LEVELS[name].argument(level, torch.ones_like(level)) for name in names])
    return DrawnOperations(tuple(names), index, arguments.gather(0, index.clamp(min=0).unsqueeze(0))[0])


def test_each_sample_gets_its_own_operation(apply, batch):
    choice = everything(len(batch))
    together = apply(batch, choice, FILL)
    alone = [apply(batch[i : i + 1], choice.rows(torch.tensor([i])), FILL) for i in range(len(batch))]
    assert torch.equal(together, torch.cat(alone))
    assert choice.index[0] == UNTOUCHED
    assert torch.equal(together[0], batch[0])
    changed = [not torch.equal(together[i], batch[i]) for i in range(1, len(batch))]
    assert all(changed)


@pytest.mark.parametrize(("names", "operation"), [(tuple(TABLES), look_up), (BLENDS, mix_in)])
def test_the_way_of_the_gpu_and_that_of_the_cpu_give_the_same(batch, names, operation):
    choice = everything(len(batch))
    assert torch.equal(by_mask(operation, names, batch, choice), by_rows(operation, names, batch, choice))


def test_both_ways_give_the_same(monkeypatch, batch):
    expected = layer.apply(batch, everything(len(batch)), FILL)
    monkeypatch.setattr(layer, "by_rows", by_mask)
    assert torch.equal(layer.apply(batch, everything(len(batch)), FILL), expected)


def test_memory_format_does_not_matter(apply, batch):  # FFCV's batches are channels-last
    choice = everything(len(batch))
    assert torch.equal(
        apply(batch.contiguous(memory_format=torch.channels_last), choice, FILL), apply(batch, choice, FILL)
    )
