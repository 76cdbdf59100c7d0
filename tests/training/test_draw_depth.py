"""The draw of depths: a function of seed and step, as often as its rule says."""

from collections import Counter

import pytest

from tleg_cli.training.draw_depth import DepthDraw, reference_depth, shares_of

RANGE = tuple((depth,) for depth in range(3, 13))


def drawn(rule: str = "uniform", steps: int = 20_000, seed: int = 0) -> Counter:
    draw = DepthDraw(RANGE, shares_of(rule, RANGE), seed)
    return Counter(draw.at(step)[0] for step in range(steps))


def test_uniform_draws_every_depth_equally_often():
    counts = drawn()
    assert set(counts) == set(range(3, 13))
    assert max(abs(count - 2000) for count in counts.values()) < 5 * 2000**0.5


def test_shallow_spends_the_same_blocks_on_every_depth():
    blocks = [depth * count for depth, count in drawn("shallow").items()]
    assert max(blocks) / min(blocks) < 1.25


def test_deepest_takes_half_of_the_steps_and_the_others_share_the_rest():
    counts = drawn("deepest")
    assert abs(counts[12] - 10_000) < 5 * 5000**0.5
    assert max(abs(counts[depth] - 10_000 / 9) for depth in range(3, 12)) < 5 * 1111**0.5
    assert shares_of("deepest", ((4,),)) == (1.0,)


def test_a_step_has_its_depth_whatever_was_drawn_before_and_another_seed_another_order():
    one, two = (DepthDraw(RANGE, shares_of("uniform", RANGE), seed) for seed in (0, 1))
    later = [one.at(step) for step in range(100, 200)]
    assert later == [one.at(step) for step in range(100, 200)]
    assert later != [two.at(step) for step in range(100, 200)]


def test_the_order_is_the_one_that_is_promised():
    """Resumed runs of another machine or Python must draw the same."""
    draw = DepthDraw(RANGE, shares_of("uniform", RANGE), 0)
    assert [draw.at(step)[0] for step in range(12)] == FIRST


FIRST = [11, 11, 10, 7, 8, 3, 6, 9, 5, 9, 6, 10]


@pytest.mark.parametrize(
    ("depths", "reference"),
    [
        (RANGE, (6,)),
        ([(6,)], (6,)),
        ([(3,), (24,)], (8,)),
        ([(2, 2), (2, 18)], (2, 6)),
        ([(1,), (2,)], (1,)),
    ],
)
def test_the_reference_is_the_geometric_mean_stage_by_stage(depths, reference):
    assert reference_depth(depths) == reference


def test_an_average_step_weighs_each_depth_by_its_share():
    blocks = [depth for (depth,) in RANGE]
    assert DepthDraw(RANGE, shares_of("uniform", RANGE), 0).mean(blocks) == pytest.approx(7.5)
    shallow = DepthDraw(RANGE, shares_of("shallow", RANGE), 0).mean(blocks)
    assert shallow == pytest.approx(10 / sum(1 / depth for depth in blocks))
