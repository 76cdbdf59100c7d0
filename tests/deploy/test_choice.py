"""The fit of latencies, the grammar of limits, and the choice: on given values."""

import itertools
import time

import pytest

from tleg_cli.deploy.choice import best, mark, why_none
from tleg_cli.deploy.engines import Setup, processor_threads
from tleg_cli.deploy.latency_model import depths_to_measure, fit_latency
from tleg_cli.deploy.measure_latency import time_in_turns, timing_of
from tleg_cli.deploy.quantities import parse_bytes, parse_macs, parse_percent, parse_seconds
from tleg_cli.errors import ConfigError


def test_a_line_is_found_from_three_depths_and_predicts_the_others():
    depths = [(depth,) for depth in range(1, 25)]
    measured = depths_to_measure(depths)
    assert measured == [(1,), (12,), (24,)]
    model = fit_latency({depth: 0.003 + 0.0061 * depth[0] for depth in measured})
    assert model.fixed == pytest.approx(0.003)
    assert model.per_block == (pytest.approx(0.0061),)
    assert model.predict((7,)) == pytest.approx(0.003 + 7 * 0.0061)


def test_noise_of_a_deep_network_does_not_spoil_the_shallow_ones():
    model = fit_latency({(1,): 0.002, (12,): 0.013, (24,): 0.025 * 1.1})
    assert model.predict((1,)) == pytest.approx(0.002, rel=0.05)


def test_stages_have_a_time_each_and_those_that_are_equal_belong_to_the_fixed_part():
    true = (0.004, 0.003, 0.002, 0.001)

    def seconds(depth):
        return 0.01 + sum(each * blocks for each, blocks in zip(true, depth, strict=True))

    depths = list(itertools.product((2,), (2, 3, 4), range(2, 19), (2,)))
    measured = depths_to_measure(depths)
    assert len(measured) == 4
    model = fit_latency({depth: seconds(depth) for depth in measured})
    assert model.separate
    assert model.per_block == (0.0, pytest.approx(0.003), pytest.approx(0.002), 0.0)
    for depth in depths:
        assert model.predict(depth) == pytest.approx(seconds(depth))


def test_stages_that_only_change_together_are_predicted_and_said_to_be_inseparable():
    depths = [(blocks, 2 * blocks) for blocks in range(1, 9)]
    measured = depths_to_measure(depths)
    assert len(measured) == 3
    model = fit_latency({depth: 0.5 + 0.1 * depth[0] + 0.2 * depth[1] for depth in measured})
    assert not model.separate
    assert model.predict((5, 10)) == pytest.approx(0.5 + 0.5 + 2.0)


@pytest.mark.parametrize("depths", [[(6,)], [(3,), (9,)]])
def test_few_depths_are_measured_themselves(depths):
    assert depths_to_measure(depths) == depths
    model = fit_latency({depth: 0.01 * depth[0] for depth in depths})
    assert all(model.predict(depth) == pytest.approx(0.01 * depth[0]) for depth in depths)


def test_limits_are_read_with_their_units():
    assert [parse_seconds(text, "--latency") for text in ("8ms", "0.5s", "300 us")] == pytest.approx([0.008, 0.5, 3e-4])
    assert [parse_bytes(text, "--size") for text in ("20MB", "3.5MiB", "200kB")] == [20e6, 3.5 * 2**20, 200e3]
    assert [parse_macs(text, "--macs") for text in ("1G", "300M")] == [1e9, 300e6]
    assert [parse_percent(text, "--accuracy") for text in ("95", "95.5%")] == [95, 95.5]


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_seconds, "8", "no unit"),
        (parse_seconds, "8min", "'min'"),
        (parse_seconds, "-8ms", "not a limit"),
        (parse_seconds, "0ms", "above 0"),
        (parse_bytes, "20Mb", "'Mb'"),
        (parse_macs, "1 G G", "not a limit"),
        (parse_percent, "101", "more than 100"),
        (parse_percent, "nan", "not a limit"),
    ],
)
def test_a_bad_limit_is_one_line_with_an_example(parse, text, words):
    with pytest.raises(ConfigError) as caught:
        parse(text, "--option")
    assert words in str(caught.value)
    assert f"--option {text!r}" in str(caught.value)


def rows(*values):
    """Candidates of (depth, seconds, top-1)."""
    return [
        {"depth": str(depth), "latency": seconds, "macs": depth, "bytes": 4 * depth, "top1": top1}
        for depth, seconds, top1 in values
    ]


FOUR = ((2, 0.002, 80.0), (4, 0.004, 90.0), (6, 0.006, 89.0), (8, 0.008, 95.0))


def test_the_front_leaves_out_what_is_slower_and_less_accurate():
    found = rows(*FOUR, (9, 0.008, 95.0))
    mark(found, {})
    assert [one["front"] for one in found] == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        ({"latency": 0.007}, "4"),
        ({"latency": 0.1}, "8"),
        ({"top1": 89.0}, "4"),
        ({"bytes": 8}, "2"),
        ({"macs": 7, "top1": 85}, "4"),
        ({"latency": 0.001}, None),
        ({}, None),
    ],
)
def test_the_best_depth_within_the_limits(limits, chosen):
    found = rows(*FOUR)
    mark(found, limits)
    one = best(found, limits)
    assert (one and one["depth"]) == chosen


def test_without_scores_the_largest_network_is_chosen():
    found = [{key: value for key, value in one.items() if key != "top1"} for one in rows(*FOUR)]
    mark(found, {"latency": 0.007})
    assert best(found, {"latency": 0.007})["depth"] == "6"


def test_why_none_is_left_names_the_nearest_depth():
    found = rows(*FOUR)
    name, nearest = why_none(found, {"bytes": 40, "latency": 0.001})
    assert (name, nearest["depth"]) == ("latency", "2")
    name, nearest = why_none(found, {"top1": 96})
    assert (name, nearest["depth"]) == ("top1", "8")
    assert why_none(found, {"latency": 0.004, "top1": 95}) is None


def test_networks_take_turns_and_medians_ignore_a_slow_minute():
    calls = []

    def passing(name, usual):
        def one():
            calls.append(name)
            return 10.0 if len(calls) % 7 == 0 else usual

        return one

    found = time_in_turns({"a": passing("a", 0.001), "b": passing("b", 0.002)}, 0.0)
    assert (found["a"].median, found["b"].median) == (0.001, 0.002)
    assert found["a"].p95 == 10.0
    turns = [name for name, _ in itertools.groupby(calls)]
    assert turns[-4:] in (["a", "b", "a", "b"], ["b", "a", "b", "a"])
    assert timing_of([1.0, 2.0, 3.0, 4.0]).p95 == 4.0


def test_a_program_that_waits_is_noticed():
    def one():
        time.sleep(0.01)
        return 0.01

    assert time_in_turns({"a": one}, 0.0)["a"].share < 0.5


def test_an_unknown_engine_and_too_many_threads_are_refused():
    with pytest.raises(ConfigError, match="'tensorrt' is unknown"):
        Setup("tensorrt")
    with pytest.raises(ConfigError, match="processor core"), processor_threads(100_000):
        pass
