"""From how many depths on a method is cheaper, and accuracy over compute: by numbers that a reader can check."""

from tests.lab.test_results import row
from tleg_cli.lab.break_even import break_evens, curve_of

DEPTHS = ["3", "6"]


def family(method, epochs, top1, *, source=0, blocks=(3, 6), trained=True, start=None):
    """An epoch costs 10 block-images for each block."""
    return [
        row(
            method, depth, seed, top1, epochs=epochs if trained else [], start=start, source_block_images=source,
            block_images=10 * number * len(epochs) if trained else 0, epoch_block_images=10 * number if trained else 0,
        )
        for depth, number in zip(DEPTHS, blocks, strict=True)
        for seed in (0, 1, 2)
    ]  # fmt: skip


ALONE = family("distilled", [50.0, 70.0, 80.0, 90.0], 90.0)  # 120 and 240 block-images


def test_a_method_is_cheaper_from_source_over_saving_on():
    # 80 % takes three epochs alone: 90 and 180, so 135 on average; one epoch of the method costs 45
    rows = [*ALONE, *family("mine", [80.0], 80.0, source=200)]
    (found,) = break_evens(rows, ["distilled", "mine"], DEPTHS)
    assert (found.method, found.depths, found.at_most) == ("mine", 3, False)  # 200 / (135 - 45) = 2.2


def test_never_and_at_most():
    slow = family("slow", [40.0, 45.0, 50.0], 50.0, source=10)  # alone, one epoch is enough
    good = family("good", [], 95.0, source=360, trained=False)  # alone, it is never reached: 180 or more on average
    found = {one.method: one for one in break_evens([*ALONE, *slow, *good], ["slow", "good"], DEPTHS)}
    assert found["slow"].depths is None
    assert (found["good"].depths, found["good"].at_most) == (2, True)
    assert break_evens(slow, ["slow"], DEPTHS) == []  # nothing to compare with


def test_accuracy_over_compute_begins_after_the_source():
    rows = family("mine", [80.0, 85.0], 85.0, source=200, start=60.0)
    assert curve_of(rows, "mine", DEPTHS).points == ((200.0, 60.0), (290.0, 80.0), (380.0, 85.0))
    assert curve_of(ALONE, "distilled", DEPTHS).points[0] == (90.0, 50.0)
    assert curve_of(rows[:3], "mine", DEPTHS) is None  # depth 6 is missing
