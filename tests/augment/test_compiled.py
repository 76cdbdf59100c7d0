"""The compiled implementation against the other one: the same draws, the same result, from any memory, in any number of threads."""

import subprocess
import sys

import pytest
import torch

from tleg_cli.augment import constants, layer
from tleg_cli.augment.colour import BLENDS, TABLES
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.drawn_operations import DrawnOperations
from tleg_cli.augment.geometry import GEOMETRIC
from tleg_cli.augment.levels import LEVELS
from tleg_cli.augment.mixup import Mixing, mix, soft_targets
from tleg_cli.augment.pipeline import make_augment
from tleg_cli.augment.policy import parse_policy
from tleg_cli.augment.randaugment import draw
from tleg_cli.config import AugmentationSection

FILL = (124.0, 116.0, 104.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = [name for name in LEVELS if not name.endswith("Increasing")]
SIZES = [(96, 128), (128, 96), (8, 8), (7, 5), (3, 3), (2, 2), (1, 5), (5, 1), (1, 1)]

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    monkeypatch.setattr(compiled, "SMALLEST", 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(batch, height, width, seed=0):
    return torch.randint(256, (batch, 3, height, width), dtype=torch.uint8, generator=generator(seed))


def choice_of(name, batch, seed=0):
    """One operation for all, of random strength."""
    level = torch.rand(batch, dtype=torch.float64, generator=generator(seed))
    sign = 1.0 - 2.0 * (torch.rand(batch, generator=generator(seed + 1)) > 0.5).double()
    return DrawnOperations(
        (LEVELS[name].operation,), torch.zeros(batch, dtype=torch.int64), LEVELS[name].argument(level, sign)
    )


def test_every_operation_has_a_number():
    assert (*TABLES, *BLENDS, *GEOMETRIC) == compiled._kernel().OPERATIONS


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_the_others(batch, name, size):
    images = batch if size == batch.shape[2:] else noise(24, *size)
    choice = choice_of(name, len(images))
    theirs = layer.apply(images, choice, FILL)
    ours = compiled.recolour(images, [choice], FILL)
    if name in GEOMETRIC:
        off = (ours.int() - theirs.int()).abs()
        assert off.max() <= 1
        assert off.float().mean() < 0.002  # both truncate; float32 decides which way a tie falls
    else:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["TranslateXRel", "TranslateYRel"])
@pytest.mark.parametrize("share", [0.5, -0.25, 1.0, -3.0, 0.0])
def test_full_pixels_are_moved_exactly(name, share):
    images = noise(2, 8, 8)
    choice = DrawnOperations((name,), torch.zeros(2, dtype=torch.int64), torch.full((2,), share, dtype=torch.float64))
    assert torch.equal(compiled.recolour(images, [choice], FILL), layer.apply(images, choice, FILL))


@pytest.mark.parametrize(
    "text", ["rand-m9-mstd0.5-inc1", "rand-m9-mstd101-n4-p0.9", "rand-m9-n0", "rand-m8-n3-p1-tweights"]
)
def test_layers_follow_each_other(batch, text):
    choices = draw(parse_policy(text), len(batch), batch.device, generator(3))
    theirs = batch
    for choice in choices:
        theirs = layer.apply(theirs, choice, FILL)
    ours = compiled.recolour(batch, choices, FILL)
    bent = torch.stack([choice.any_of(GEOMETRIC) for choice in choices]).any(0) if choices else torch.zeros(16).bool()
    assert torch.equal(ours[~bent], theirs[~bent])
    assert text != "rand-m9-mstd0.5-inc1" or (~bent).any()
    assert (
        ours.int() - theirs.int()
    ).abs().float().mean() < 0.01  # one level before Solarize or Equalize can be many after


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6])
@pytest.mark.parametrize("mixing", [Mixing(0.8, 0.0, 1.0, 0.5), Mixing(0.0, 1.0, 1.0, 0.5), Mixing(0.8, 1.0, 0.7, 0.5)])
def test_mixing_is_the_others(batch_size, mixing):
    images = compiled.normalise(noise(batch_size, 9, 14), MEAN, STD)
    for seed in range(20):
        theirs = mix(images, soft_targets(torch.arange(batch_size), 7, 0.1), mixing, generator(seed))
        ours = images.clone(), soft_targets(torch.arange(batch_size), 7, 0.1)
        compiled.mix_in_place(*ours, mixing, generator(seed))
        torch.testing.assert_close(ours[0], theirs[0])
        torch.testing.assert_close(ours[1], theirs[1])


def test_normalise_is_the_others_to_the_last_bit(batch):
    assert torch.equal(compiled.normalise(batch, MEAN, STD), constants.normalise(batch, MEAN, STD))


def augmented(images, seed=5, **settings):
    recipe = {"auto_augment": "rand-m9-mstd0.5-inc1", "erase": 0.4, "mixup": 0.8, "cutmix": 1.0, **settings}
    made = make_augment(AugmentationSection(**recipe), mean=MEAN, std=STD, classes=5, smoothing=0.1)
    return made(images, torch.arange(len(images)) % 5, generator(seed))


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("settings", [{}, {"cutmix": 0.0}, {"auto_augment": None, "color_jitter": 0.4}], ids=str)
@pytest.mark.parametrize("number", [16, 13, 1])
def test_the_number_of_threads_does_not_matter(torch_threads, batch, settings, number):
    results = []
    for threads in (1, 2, 5):
        torch_threads(threads)
        results.append(augmented(batch[:number], **settings))
    for images, targets in results[1:]:
        assert torch.equal(images, results[0][0])
        assert torch.equal(targets, results[0][1])


def test_memory_does_not_matter_and_is_not_written_to(batch):
    expected = augmented(batch)[0]
    sliced = torch.zeros(16, 3, 100, 256, dtype=torch.uint8)
    sliced[:, :, 2:98, ::2] = batch
    for images in (batch.contiguous(memory_format=torch.channels_last), sliced[:, :, 2:98, ::2]):
        before = images.clone()
        assert torch.equal(augmented(images)[0], expected)
        assert torch.equal(images, before)


def test_what_comes_out_is_new_memory(batch):
    """Also if nothing was done to an image: FFCV will overwrite what went in."""
    images = batch.contiguous(memory_format=torch.channels_last)
    first = compiled.recolour(images, draw(parse_policy("rand-p0"), 16, images.device, generator()), FILL)
    assert torch.equal(first, images)
    images.zero_()
    assert first.any()


def test_small_images_and_machines_without_numba_go_the_other_way(monkeypatch, batch):
    monkeypatch.setattr(compiled, "SMALLEST", 96 * 128)
    assert compiled.usable(batch)
    assert not compiled.usable(batch[:, :, 1:])
    assert not compiled.usable(batch.to("meta"))
    monkeypatch.setattr(compiled, "_kernel", lambda: None)
    assert not compiled.usable(batch)


def test_without_numba_everything_works():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch\n"
        "from tleg_cli.config import AugmentationSection\n"
        "from tleg_cli.augment.pipeline import make_augment\n"
        "section = AugmentationSection(auto_augment='rand-m9', erase=1.0, mixup=0.8, cutmix=1.0)\n"
        "made = make_augment(section, mean=(0.5,) * 3, std=(0.5,) * 3, classes=5, smoothing=0.1)\n"
        "images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)\n"
        "print(made(images, torch.arange(4), torch.Generator())[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "torch.Size([4, 3, 64, 64])\n", done.stderr
