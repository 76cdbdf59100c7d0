"""Policy strings mean what they mean in timm, and what we can't do is refused in one line."""

import pytest
from timm.data.auto_augment import rand_augment_transform

from tleg_cli.augment.levels import LEVELS
from tleg_cli.augment.policy import parse_policy
from tleg_cli.errors import ConfigError

SUPPORTED = [
    "rand",
    "rand-m9-mstd0.5-inc1",
    "rand-m9-mstd0.5",
    "rand-m9-n3-mstd0.5",
    "rand-n0-m0",
    "rand-m15-mmax20-p1-inc1",
    "rand-m7-mmax0-inc0",
    "rand-m9-mstd101-inc1",
    "rand-mstd1-tweights",
    "rand-p0.25-n4-tweights-inc1",
]


@pytest.mark.parametrize("text", SUPPORTED)
def test_means_what_it_means_in_timm(text):
    ours, theirs = parse_policy(text), rand_augment_transform(text)
    assert list(ours.names) == [op.name for op in theirs.ops]
    assert ours.layers == theirs.num_layers
    op = theirs.ops[0]
    assert (ours.probability, ours.magnitude, ours.spread) == (op.prob, op.magnitude, op.magnitude_std)
    assert ours.limit == (op.magnitude_max or 10)
    if theirs.choice_weights is None:
        assert ours.weights is None
    else:
        assert [w / sum(ours.weights) for w in ours.weights] == pytest.approx(list(theirs.choice_weights))


@pytest.mark.parametrize("text", SUPPORTED)
def test_every_operation_is_known(text):
    assert set(parse_policy(text).names) <= set(LEVELS)


REFUSED_BY_TIMM = ["random-m9", "rand-m9.5", "rand-w0", "rand-m9-foo3", "rand-n2.5", "rand-p0.5x", "rand-mmax1.5"]
NOT_OURS = [
    "augmix-m5-w4-d2",
    "original",
    "originalr-mstd0.5",
    "v0",
    "v0r-mstd0.5",
    "3a",
    "rand-m9-t3a",
    "rand-m9-t3aw",
]
SKIPPED_BY_TIMM = [
    "rand-",
    "rand-inc",
    "rand-m9-mstdinf",
    "rand-tunknown",
    "rand-m9-m3",
    "rand-p2",
    "rand-n16-tweights",
]


@pytest.mark.parametrize("text", REFUSED_BY_TIMM)
def test_timm_refuses_these_too(text):
    with pytest.raises((AssertionError, ValueError)):
        rand_augment_transform(text)


@pytest.mark.parametrize("text", REFUSED_BY_TIMM + NOT_OURS + SKIPPED_BY_TIMM + ["", "none", "RAND-m9", " rand-m9"])
def test_refused_in_one_line_that_names_the_value(text):
    with pytest.raises(ConfigError) as refused:
        parse_policy(text)
    assert repr(text) in str(refused.value)
    assert "augmentation.auto_augment" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_misspelt_setting_is_corrected():
    with pytest.raises(ConfigError, match=r"'mst0\.5' is not a setting\. Did you mean 'mstd'\?"):
        parse_policy("rand-m9-mst0.5-inc1")
