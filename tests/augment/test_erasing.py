"""Random erasing: how often, how much, and with what, against timm's RandomErasing."""

import random

import pytest
import torch
from timm.data.random_erasing import RandomErasing

from tleg_cli.augment.erasing import draw_boxes, erase, erase_in_place

SHAPE = (4000, 1, 24, 32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def in_place(images, **settings):
    result = images.clone()
    erase_in_place(result, **settings)
    return result


WAYS = pytest.mark.parametrize("erase", [erase, in_place])


def erased_share(images):
    return (images == 0).float().mean((1, 2, 3))


@WAYS
@pytest.mark.parametrize(("probability", "count"), [(0.25, 1), (1.0, 1), (0.6, 3)])
def test_frequency_and_area_are_timms(erase, probability, count):
    random.seed(0)
    ones = torch.ones(SHAPE)
    ours = erased_share(erase(ones, probability=probability, mode="const", count=count, generator=generator()))
    theirs = erased_share(RandomErasing(probability, mode="const", max_count=count, device="cpu")(ones.clone()))
    assert (ours > 0).float().mean().item() == pytest.approx(probability, abs=0.04)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), rel=0.06)
    assert ours[ours > 0].std().item() == pytest.approx(theirs[theirs > 0].std().item(), rel=0.08)
    assert ours.max() <= 0.36


def test_boxes_are_rectangles_of_timms_shapes_everywhere():
    boxes = draw_boxes(torch.Size(SHAPE), 1.0, 1, torch.device("cpu"), generator())[0]
    rows, columns = boxes.any(2), boxes.any(1)
    assert torch.equal(boxes, rows.unsqueeze(2) & columns.unsqueeze(1))
    h, w = rows.sum(1), columns.sum(1)
    for side in (rows, columns):  # one run each, not two
        assert ((side[:, 1:].int() - side[:, :-1].int()).abs().sum(1) <= 2).all()
    assert (h < 24).all()
    assert (w < 32).all()
    big = h * w > 60  # rounding bends the shape of small ones
    ratios = (h / w)[big]
    assert ratios.min() > 0.25
    assert ratios.max() < 4
    assert ratios.log().mean().abs() < 0.1
    cover = boxes.float().mean(0)
    assert cover.min() > 0  # the corners too
    torch.testing.assert_close(cover, cover.flip(0), atol=0.04, rtol=0)
    torch.testing.assert_close(cover, cover.flip(1), atol=0.04, rtol=0)


def test_counts_run_from_one_to_count():
    boxes = draw_boxes(torch.Size((3000, 1, 16, 16)), 1.0, 3, torch.device("cpu"), generator())
    numbers = boxes.flatten(2).any(2).sum(0)
    for number in (1, 2, 3):
        assert (numbers == number).float().mean().item() == pytest.approx(1 / 3, abs=0.05)


@WAYS
def test_fillings(erase):
    images = torch.full((300, 3, 16, 16), 9.0)
    pixel, rand, const = (
        erase(images, probability=1.0, mode=mode, count=1, generator=generator()) for mode in ("pixel", "rand", "const")
    )
    for result in (pixel, rand, const):
        assert ((result != 9).all(1) == (result != 9).any(1)).all()  # all channels together
    noise = pixel[pixel != 9]
    assert noise.mean().abs() < 0.03
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert (const[const != 9] == 0).all()
    for image in rand[:50]:
        for channel in image:
            assert len(channel[channel != 9].unique()) == 1
    colours = torch.stack([image[image != 9].view(3, -1)[:, 0] for image in rand])
    assert colours.std().item() == pytest.approx(1, abs=0.1)


def test_the_batch_it_was_given_is_not_written_to():
    images = torch.ones(8, 3, 16, 16)
    erase(images, probability=1.0, mode="const", count=2, generator=generator())
    assert (images == 1).all()
    assert erase(images, probability=0.0, mode="pixel", count=1, generator=generator()) is images


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_ways_fill_the_same_boxes(mode, count, layout):
    images = torch.full((40, 3, 16, 24), 9.0).contiguous(memory_format=layout)
    settings = {"probability": 0.6, "mode": mode, "count": count}
    whole, boxes = (way(images, **settings, generator=generator(2)) for way in (erase, in_place))
    assert torch.equal(whole == 9, boxes == 9)
    assert mode == "pixel" or torch.equal(whole, boxes)
    plain = in_place(images.contiguous(), **settings, generator=generator(2))
    assert torch.equal(boxes, plain)  # noise depends on the place, not on the memory
