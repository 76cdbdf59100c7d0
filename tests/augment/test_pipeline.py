"""The complete recipe: order, every setting, determinism, and that nothing waits for the device."""

import pytest
import torch
import torch.nn.functional as F
from timm.data.transforms_factory import transforms_imagenet_train
from torchvision.transforms import functional as pil_functional

from tleg_cli.augment import layer, randaugment
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.erasing import erase_in_place
from tleg_cli.augment.mixup import Mixing, mix, soft_targets
from tleg_cli.augment.pipeline import make_augment, normalise, step_generator
from tleg_cli.augment.policy import parse_policy
from tleg_cli.augment.randaugment import rand_augment
from tleg_cli.config import AugmentationSection
from tleg_cli.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = {"auto_augment": "rand-m9-mstd0.5-inc1", "erase": 0.25, "mixup": 0.8, "cutmix": 1.0}
LABELS = torch.arange(16) % 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment(batch, seed=0, smoothing=0.1, **settings):
    made = make_augment(AugmentationSection(**settings), mean=MEAN, std=STD, classes=5, smoothing=smoothing)
    return made(batch, LABELS, generator(seed))


def test_normalise_is_torchvisions(photographs, to_tensor):
    expected = [pil_functional.normalize(pil_functional.to_tensor(image), MEAN, STD) for image in photographs]
    result = normalise(to_tensor(photographs), MEAN, STD)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.stack(expected))


def test_everything_off_is_normalise_and_smoothing(implementation, batch):
    images, targets = augment(batch)
    assert torch.equal(images, normalise(batch, MEAN, STD))
    torch.testing.assert_close(targets, F.one_hot(LABELS, 5) * 0.9 + 0.02)
    assert torch.equal(augment(batch, smoothing=0.0)[1], F.one_hot(LABELS, 5).float())
    assert images.dtype == targets.dtype == torch.float32


def test_the_recipe_is_its_parts_in_order(implementation, batch):
    draws = generator(4)
    expected = rand_augment(batch, parse_policy(RECIPE["auto_augment"]), (124.0, 116.0, 104.0), draws)
    expected = normalise(expected, MEAN, STD)
    erase_in_place(expected, probability=0.25, mode="pixel", count=1, generator=draws)
    images, targets = mix(expected, soft_targets(LABELS, 5, 0.1), Mixing(0.8, 1.0, 1.0, 0.5), draws)
    ours = augment(batch, seed=4, **RECIPE)
    torch.testing.assert_close(ours[0], images)
    torch.testing.assert_close(ours[1], targets)


def test_the_fill_is_timms(implementation, batch):
    white = torch.full_like(batch, 255)
    images, _ = augment(white, auto_augment="rand-m10-n8-p1-tweights")
    levels = (images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
    wanted = transforms_imagenet_train(auto_augment="rand-m9", mean=MEAN).transforms[2].ops[0].kwargs["fillcolor"]
    found = (levels.round() == torch.tensor(wanted).view(3, 1, 1)).all(1)
    assert found.float().mean() > 0.01  # white images have no pixel of this colour of their own
    assert wanted == (124, 116, 104)


VARIANTS = [
    {},
    {"color_jitter": 0.4},
    {"color_jitter": 0.2},
    {"auto_augment": "rand-m9"},
    {"auto_augment": "rand-m9-n1"},
    {"erase": 0.5},
    {"erase": 1.0},
    {"erase": 1.0, "erase_mode": "rand"},
    {"erase": 1.0, "erase_mode": "const"},
    {"erase": 1.0, "erase_count": 4},
    {"mixup": 0.8},
    {"mixup": 0.3},
    {"cutmix": 1.0},
    {"mixup": 0.8, "cutmix": 1.0, "mixup_switch": 0.0},
    {"color_jitter": 0.4, "mixup": 0.8},
]


def test_every_setting_takes_effect(implementation, batch):
    results = [augment(batch, **settings)[0] for settings in VARIANTS]
    for index, result in enumerate(results):
        assert not any(torch.equal(result, other) for other in results[:index]), VARIANTS[index]


@pytest.mark.parametrize("settings", VARIANTS[1:], ids=str)
def test_a_seed_is_a_batch(implementation, batch, settings):
    first, again, other = (augment(batch, seed=seed, **settings)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", range(6))
def test_mixup_switch_takes_effect(implementation, batch, seed):
    always, never = (augment(batch, seed, mixup=0.8, cutmix=1.0, mixup_switch=switch)[0] for switch in (1.0, 0.0))
    assert torch.equal(always, augment(batch, seed, cutmix=1.0)[0])
    assert not torch.equal(always, never)


def test_mixup_prob_takes_effect(batch):
    changed = [
        not torch.equal(augment(batch, seed=seed, mixup=0.8, mixup_prob=0.3)[1], augment(batch)[1])
        for seed in range(200)
    ]
    assert sum(changed) / 200 == pytest.approx(0.3, abs=0.1)


def test_a_policy_leaves_colour_jitter_out_as_in_timm(batch):
    policy = {"auto_augment": "rand-m9-mstd0.5-inc1"}
    assert torch.equal(augment(batch, color_jitter=0.4, **policy)[0], augment(batch, **policy)[0])
    timms = transforms_imagenet_train(color_jitter=0.4, **policy)
    assert "ColorJitter" not in str(timms)
    assert "ColorJitter" in str(transforms_imagenet_train(color_jitter=0.4))


@pytest.mark.parametrize("text", ["augmix-m5", "original", "v0", "3a", "rand-m9-foo3", "rand-m9.5"])
def test_a_bad_policy_is_refused_before_training(text):
    with pytest.raises(ConfigError):
        make_augment(AugmentationSection(auto_augment=text), mean=MEAN, std=STD, classes=5, smoothing=0.1)


def test_jitter_is_pillows_in_the_drawn_order(implementation, photographs, to_tensor):
    """A sample's three factors in its own order, applied by torchvision to the PIL image."""
    adjust = {
        "Brightness": pil_functional.adjust_brightness,
        "Contrast": pil_functional.adjust_contrast,
        "Color": pil_functional.adjust_saturation,
    }
    images = randaugment.colour_jitter(to_tensor(photographs), 0.4, generator())
    choices = randaugment.draw_jitter(0.4, len(photographs), torch.device("cpu"), generator())
    for sample, image in enumerate(photographs):
        for choice in choices:
            image = adjust[randaugment.JITTER[choice.index[sample]]](image, choice.argument[sample].item())
        off = (images[sample].int() - to_tensor([image])[0].int()).abs()
        assert off.max() == 0


@pytest.mark.parametrize(("strength", "low"), [(0.4, 0.6), (1.5, 0.0)])
def test_jitter_draws_each_once_uniformly_in_any_order(strength, low):
    choices = randaugment.draw_jitter(strength, 6000, torch.device("cpu"), generator())
    order = torch.stack([choice.index for choice in choices])
    assert torch.equal(order.sort(0).values, torch.arange(3).view(3, 1).expand(3, 6000))
    assert (order[0] * 3 + order[1]).unique(return_counts=True)[1].tolist() == pytest.approx([1000] * 6, abs=150)
    factors = torch.stack([choice.argument for choice in choices])
    assert factors.min() >= low
    assert factors.max() <= 1 + strength
    assert factors.mean().item() == pytest.approx((low + 1 + strength) / 2, abs=0.01)
    assert factors.std().item() == pytest.approx((1 + strength - low) / 12**0.5, abs=0.01)


def test_the_loaders_batch_is_not_written_to(implementation, batch):  # FFCV's batches are views of a ring of buffers
    before = batch.clone()
    augment(batch, **RECIPE)
    augment(batch, color_jitter=0.4, erase=1.0, mixup=1.0)
    assert torch.equal(batch, before)


def test_step_generator_is_a_function_of_its_arguments():
    def numbers(*arguments):
        return tuple(torch.rand(4, generator=step_generator(*arguments, "cpu")).tolist())

    assert numbers(1, 2, 3) == numbers(1, 2, 3)
    arguments = [(seed, step, rank) for seed in range(5) for step in range(40) for rank in range(8)]
    assert len({numbers(*each) for each in arguments}) == len(arguments)
    assert numbers(2**31 - 1, 10**9, 4095)  # the largest that can be asked for
    firsts = torch.tensor([numbers(0, step, 0)[0] for step in range(2000)])
    assert firsts.mean().item() == pytest.approx(0.5, abs=0.03)  # neighbours are not alike
    assert abs(torch.corrcoef(torch.stack([firsts[1:], firsts[:-1]]))[0, 1].item()) < 0.08


SETTINGS = [
    {**RECIPE, "erase_count": 3},
    {**RECIPE, "erase_mode": "rand", "auto_augment": "rand-m9-mstd101-n3-tweights"},
    {"color_jitter": 0.4, "erase": 0.5, "erase_mode": "const", "cutmix": 1.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_nothing_looks_at_the_values_of_a_tensor(settings):
    """Tensors on `meta` have no values: .item(), mask indexing and shapes that depend on data all raise."""
    made = make_augment(AugmentationSection(**settings), mean=MEAN, std=STD, classes=5, smoothing=0.1)
    images = torch.empty(16, 3, 24, 32, dtype=torch.uint8, device="meta")
    inputs, targets = made(images, LABELS.to("meta"), generator())
    assert inputs.shape == images.shape
    assert targets.shape == (16, 5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_way_of_the_gpu_gives_the_same_batch(monkeypatch, batch, settings):
    monkeypatch.setattr(compiled, "_kernel", lambda: None)
    if settings.get("erase_mode", "pixel") == "pixel":  # a GPU draws a field of noise, a CPU only what it needs
        settings = {**settings, "erase": 0.0}
    expected = augment(batch, **settings)
    monkeypatch.setattr(layer, "by_rows", layer.by_mask)
    result = augment(batch, **settings)
    assert torch.equal(result[0], expected[0])
    assert torch.equal(result[1], expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("settings", SETTINGS)
def test_on_a_gpu_nothing_waits(batch, settings):
    made = make_augment(AugmentationSection(**settings), mean=MEAN, std=STD, classes=5, smoothing=0.1)
    images, labels = batch.cuda(), LABELS.cuda()
    first, _ = made(images, labels, step_generator(0, 0, 0, "cuda"))  # copies the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        again, targets = made(images, labels, step_generator(0, 0, 0, "cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, again)
    torch.testing.assert_close(targets.sum(1).cpu(), torch.ones(16))


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (2, 7)])
def test_images_as_small_as_digits(implementation, size):
    images = torch.randint(256, (6, 3, *size), dtype=torch.uint8, generator=generator())
    made = make_augment(AugmentationSection(**RECIPE), mean=MEAN, std=STD, classes=5, smoothing=0.1)
    for seed in range(20):
        inputs, _ = made(images, LABELS[:6], generator(seed))
        assert inputs.shape == images.shape
        assert inputs.isfinite().all()
