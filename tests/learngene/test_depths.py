"""The grammar of depths: everything it means, and everything it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import MAX_DEPTH, complete_depth, format_depth, parse_depths

SWIN = (2, 2, 6, 2)


@pytest.mark.parametrize(
    ("text", "depths"),
    [
        ("6", [(6,)]),
        ("3,6,9", [(3,), (6,), (9,)]),
        ("9,3", [(9,), (3,)]),
        ("3-6", [(3,), (4,), (5,), (6,)]),
        ("3-3", [(3,)]),
        ("2,4-5", [(2,), (4,), (5,)]),
        (" 3 , 6 ", [(3,), (6,)]),
        ("2:2:18:2", [(2, 2, 18, 2)]),
        ("2:2:4-5:2", [(2, 2, 4, 2), (2, 2, 5, 2)]),
        ("2:2:4:2,2:2:6:2", [(2, 2, 4, 2), (2, 2, 6, 2)]),
        ("1000", [(1000,)]),
    ],
)
def test_what_is_understood(text, depths):
    assert parse_depths(text) == depths


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("12-3", ["12-3 runs backwards", "write 3-12"]),
        ("3,,6", ["a depth is missing"]),
        ("", ["a depth is missing"]),
        ("2::2", ["a depth is missing"]),
        ("0", ["from 1 to 1000"]),
        ("2:0:2:2", ["from 1 to 1000"]),
        ("1001", ["from 1 to 1000"]),
        ("6,6", ["6 is there more than once"]),
        ("3-6,5", ["5 is there more than once"]),
        ("-3", ["'-3' is not a depth"]),
        ("3.5", ["'3.5' is not a depth"]),
        ("six", ["'six' is not a depth"]),
        ("٣", ["is not a depth"]),
        ("1-1000,1:1-1000", ["more than 1000 networks"]),
        ("1-1000:1-1000:1-1000:1-1000", ["more than 1000 networks"]),
    ],
)
def test_what_is_refused_and_why(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_depths(text)
    for word in words:
        assert word in str(caught.value)


@given(
    st.lists(
        st.lists(st.integers(1, MAX_DEPTH), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5, unique=True
    )
)
def test_what_is_formatted_is_read_back(depths):
    assert parse_depths(",".join(format_depth(depth) for depth in depths)) == depths


@given(st.text(alphabet="0123456789,:- x", max_size=20))
def test_any_text_is_depths_or_one_line(text):
    try:
        depths = parse_depths(text)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert repr(text) in str(error)
    else:
        assert depths
        assert all(1 <= blocks <= MAX_DEPTH for depth in depths for blocks in depth)


def test_one_number_sets_the_deepest_stage():
    assert complete_depth((18,), SWIN, "swin") == (2, 2, 18, 2)
    assert complete_depth((9,), (12,), "vit") == (9,)
    assert complete_depth((1, 2, 3, 4), SWIN, "swin") == (1, 2, 3, 4)


def test_one_number_on_equally_deep_stages_is_ambiguous():
    with pytest.raises(ConfigError, match=r"2:2:2:2.*write all 4"):
        complete_depth((6,), (2, 2, 2, 2), "swin")


def test_a_family_knows_its_deepest_stage_even_where_a_learngene_is_shallow_there():
    assert complete_depth((6,), (2, 2, 2, 2), "swin", family=SWIN) == (2, 2, 6, 2)
    assert complete_depth((6,), (8, 2, 2, 2), "swin", family=SWIN) == (8, 2, 6, 2)


@pytest.mark.parametrize(("depth", "start"), [((2, 2), SWIN), ((2, 2, 6, 2, 2), SWIN), ((2, 2), (12,))])
def test_another_number_of_stages_is_refused(depth, start):
    with pytest.raises(ConfigError, match=f"{format_depth(depth)} has {len(depth)} stages, but swin has {len(start)}"):
        complete_depth(depth, start, "swin")
