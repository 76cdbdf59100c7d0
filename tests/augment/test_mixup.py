"""mixup and CutMix: the targets are mixed as the images are, and lambda is drawn as timm draws it."""

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup, mixup_target

from tleg_cli.augment.mixup import Mixing, _beta, mix, own_share, soft_targets

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shares(mixing, number=1500, height=12, width=20):
    draws = generator()
    return torch.stack([own_share(mixing, height, width, CPU, draws) for _ in range(number)])


def timms_lambdas(mixing, number=1500):
    np.random.seed(0)
    mixer = Mixup(mixing.mixup, mixing.cutmix, prob=mixing.probability, switch_prob=mixing.switch, num_classes=2)
    return np.array([mixer._mix_batch(torch.zeros(2, 1, 12, 20)) for _ in range(number)])


@pytest.mark.parametrize(
    "mixing",
    [
        Mixing(0.8, 0.0, 1.0, 0.5),
        Mixing(0.0, 1.0, 1.0, 0.5),
        Mixing(0.8, 1.0, 1.0, 0.5),
        Mixing(0.2, 0.3, 0.6, 0.9),
    ],
)
def test_lambda_is_distributed_as_timms(mixing):
    ours, theirs = shares(mixing).mean((1, 2)).sort().values.numpy(), np.sort(timms_lambdas(mixing))
    gap = np.abs(np.searchsorted(theirs, ours, side="right") / len(theirs) - (np.arange(len(ours)) + 1) / len(ours))
    # Kolmogorov and Smirnov, away from the ties at lambda = 1; 0.06 is the limit of one in 300 for two sets of 1500
    assert gap[(ours > 1e-6) & (ours < 1 - 1e-6)].max() < 0.066
    assert np.mean(ours > 1 - 1e-6) == pytest.approx(np.mean(theirs > 1 - 1e-6), abs=0.05)


def test_switch_and_probability():
    own = shares(Mixing(1.0, 1.0, 0.7, 0.2)).flatten(1)
    untouched = (own == 1).all(1)
    boxes = ((own == 0) | (own == 1)).all(1) & ~untouched
    assert untouched.float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert boxes.float().mean().item() == pytest.approx(0.7 * 0.2, abs=0.04)


def test_boxes_are_cut_at_the_border_and_lie_everywhere():
    own = shares(Mixing(0.0, 1.0, 1.0, 0.5), number=600)
    gone = own == 0
    assert torch.equal(gone, gone.any(2, keepdim=True) & gone.any(1, keepdim=True))
    frequency = gone.float().mean(0)
    assert frequency.min() > 0.1
    torch.testing.assert_close(frequency, frequency.flip(0), atol=0.12, rtol=0)
    torch.testing.assert_close(frequency, frequency.flip(1), atol=0.12, rtol=0)


@pytest.mark.parametrize("alpha", [1e-3, 0.05, 0.8, 1.0, 5.0])
def test_beta(alpha):
    draws = generator()
    values = torch.stack([_beta(alpha, CPU, draws) for _ in range(3000)])
    assert values.isfinite().all()
    assert values.mean().item() == pytest.approx(0.5, abs=0.04)
    assert values.var().item() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.08)


@pytest.mark.parametrize("mixing", [Mixing(0.8, 0.0, 1.0, 0.5), Mixing(0.0, 1.0, 1.0, 0.5), Mixing(0.8, 1.0, 1.0, 0.5)])
@pytest.mark.parametrize("batch", [8, 5, 1])
def test_targets_equal_the_mix_of_images(mixing, batch):
    """Each image is of one value, that of its class: so the mean of a mixed image is the mean of its target."""
    labels = torch.arange(batch)
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 10, 14)
    for seed in range(20):
        mixed, targets = mix(images, soft_targets(labels, batch, 0.0), mixing, generator(seed))
        torch.testing.assert_close(targets.sum(1), torch.ones(batch))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ labels.float())
        partners = targets.gather(1, labels.flip(0).view(-1, 1)) + targets.gather(1, labels.view(-1, 1))
        assert (partners > 0.999).all()  # all weight is on the label and on that of the mirrored place


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothing_is_timms(smoothing):
    labels = torch.tensor([3, 0, 3, 1])
    torch.testing.assert_close(soft_targets(labels, 5, smoothing), mixup_target(labels, 5, 1.0, smoothing))
    _, targets = mix(
        torch.zeros(4, 3, 6, 6), soft_targets(labels, 5, smoothing), Mixing(1.0, 0.0, 1.0, 0.5), generator()
    )
    share = own_share(Mixing(1.0, 0.0, 1.0, 0.5), 6, 6, CPU, generator())[0, 0].item()
    assert 0.01 < share < 0.99
    torch.testing.assert_close(targets, mixup_target(labels, 5, share, smoothing))


def test_cutmix_takes_complete_pixels():
    images = torch.randn(6, 3, 16, 16)
    mixed, _ = mix(images, soft_targets(torch.arange(6), 6, 0.0), Mixing(0.0, 1.0, 1.0, 0.5), generator(3))
    kept, taken = mixed == images, mixed == images.flip(0)
    assert (kept | taken).all()
    assert 0 < taken.float().mean() < 1


def test_off():
    images, targets = torch.randn(2, 3, 4, 4), torch.eye(2)
    assert mix(images, targets, Mixing(0.0, 0.0, 1.0, 0.5), generator()) == (images, targets)
    never = mix(images, targets, Mixing(1.0, 1.0, 0.0, 0.5), generator())
    assert torch.equal(never[0], images)
    assert torch.equal(never[1], targets)
