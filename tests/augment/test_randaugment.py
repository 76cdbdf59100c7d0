"""The draw: what timm draws, how often and how strong, is what we draw."""

import random
from collections import defaultdict

import numpy as np
import pytest
import torch
from timm.data.auto_augment import rand_augment_transform

from tleg_cli.augment.drawn_operations import UNTOUCHED
from tleg_cli.augment.levels import LEVELS
from tleg_cli.augment.policy import parse_policy
from tleg_cli.augment.randaugment import draw, draw_magnitudes, draw_names, rand_augment

CPU = torch.device("cpu")
DRAWS = 30_000
FILL = (124.0, 116.0, 104.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ours(text):
    """operation -> the arguments that were drawn for it, and how many samples were left alone."""
    found = defaultdict(list)
    policy = parse_policy(text)
    for choice in draw(policy, DRAWS, CPU, generator()):
        for name in set(choice.names):
            found[name] += choice.argument[choice.of(name)].tolist()
        found["untouched"] += [0.0] * int((choice.index == UNTOUCHED).sum())
    return found


def timms(text):
    """The same, from timm's own object: its operations are replaced by ones that write down their argument."""
    random.seed(0)
    np.random.seed(0)
    found = defaultdict(list)
    augment = rand_augment_transform(text)
    for op in augment.ops:
        name = LEVELS[op.name].operation
        op.aug_fn = lambda image, *arguments, name=name, **_: found[name].append(float((*arguments, 0.0)[0])) or image
    for _ in range(DRAWS):
        augment(None)
    found["untouched"] = [0.0] * (DRAWS * augment.num_layers - sum(map(len, found.values())))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "rand-m9-mstd0.5-inc1",
        "rand-m9-mstd0.5",
        "rand-m6-mstd2-n3-p0.8-inc1",
        "rand-m8-mstd101-inc1",
        "rand-mstd1-tweights",
    ],
)
def test_operations_and_arguments_are_distributed_as_timms(text):
    mine, theirs = ours(text), timms(text)
    assert set(mine) == set(theirs)
    for name in mine:
        a, b = np.array(mine[name]), np.array(theirs[name])
        deviation = np.sqrt(len(a) + len(b)) + 1
        assert abs(len(a) - len(b)) < 5 * deviation, name
        for x, y in ((a, b), (np.abs(a), np.abs(b)), ((a - b.mean()) ** 2, (b - b.mean()) ** 2)):  # the last: variance
            standard = np.sqrt(x.var() / len(x) + y.var() / len(y)) + 1e-9
            assert abs(x.mean() - y.mean()) < 5 * standard, name


def test_magnitudes_are_normal_and_clipped():
    policy = parse_policy("rand-m9-mstd0.5-inc1-n4")
    values = draw_magnitudes(policy, 20_000, CPU, generator())
    assert values.max() == 10  # 2.3 % lie above
    assert (values == 10).double().mean().item() == pytest.approx(0.0228, abs=0.004)
    assert values.median().item() == pytest.approx(9, abs=0.02)
    assert values[values < 9].sub(9).square().mean().sqrt().item() == pytest.approx(0.5, abs=0.01)
    assert draw_magnitudes(parse_policy("rand-m1-mstd3"), 1000, CPU, generator()).min() == 0
    assert draw_magnitudes(parse_policy("rand-m19-mstd3-mmax20"), 1000, CPU, generator()).max() == 20
    assert torch.equal(draw_magnitudes(parse_policy("rand-m9"), 5, CPU, generator()), torch.full((2, 5), 9.0).double())


def test_layers_are_drawn_with_replacement():
    names = draw_names(parse_policy("rand-n2"), 30_000, CPU, generator())
    assert (names[0] == names[1]).float().mean().item() == pytest.approx(1 / 15, abs=0.01)


def test_weighted_layers_are_drawn_without_replacement():
    policy = parse_policy("rand-n3-tweights")
    names = draw_names(policy, 30_000, CPU, generator())
    assert all(len(set(sample)) == 3 for sample in names.t().tolist())
    first = names[0].bincount(minlength=15).double() / 30_000
    expected = torch.tensor(policy.weights).double() / sum(policy.weights)
    assert (first - expected).abs().max() < 0.01


def test_every_sample_draws_for_itself(batch):
    same = batch[:1].expand(len(batch), -1, -1, -1)
    images = rand_augment(same, parse_policy("rand-m9-mstd0.5-inc1-p1"), FILL, generator())
    different = {tuple(image.flatten().tolist()) for image in images}
    assert len(different) > len(batch) - 3


def test_half_of_the_layers_happen(batch):
    images = rand_augment(batch.repeat(40, 1, 1, 1)[..., ::4, ::4], parse_policy("rand-m9-n1-inc1"), FILL, generator())
    original = batch.repeat(40, 1, 1, 1)[..., ::4, ::4]
    same = (images == original).flatten(1).all(1).float().mean()
    assert same.item() == pytest.approx(0.5, abs=0.08)


def test_layers_act_one_after_the_other():
    images = torch.full((4, 3, 8, 8), 60, dtype=torch.uint8)
    policy = parse_policy("rand-n2-p1")
    inverted = type(policy)(names=("Invert",), layers=2, probability=1.0)
    assert torch.equal(rand_augment(images, inverted, FILL, generator()), images)
    once = type(policy)(names=("Invert",), layers=1, probability=1.0)
    assert torch.equal(rand_augment(images, once, FILL, generator()), 255 - images)


def test_a_seed_is_a_result(batch):
    policy = parse_policy("rand-m9-mstd0.5-inc1")
    first, again, other = (rand_augment(batch, policy, FILL, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
