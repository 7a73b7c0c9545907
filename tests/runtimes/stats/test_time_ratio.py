"""How many times as long one thing takes as another: by hand."""

import pytest

from compactor_runtimes.stats.percentiles import spread
from compactor_runtimes.stats.time_ratio import Timing, time_ratio, timing_of


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(45, 55, "better"), (85, 95, "noise"), (85, 90, "noise"), (120, 130, "worse"), (110, 120, "noise")],
)
def test_only_blocks_that_do_not_overlap_are_a_difference(low, high, verdict):
    a, b = Timing(100, 90, 110, 3), Timing((low + high) / 2, low, high, 3)
    found = time_ratio(a, b)
    assert found.value == pytest.approx((low + high) / 200)
    assert (found.low, found.high) == (pytest.approx(low / 110), pytest.approx(high / 90))
    assert found.verdict == verdict


def test_a_single_block_on_either_side_is_noise():
    many, one = Timing(100, 99, 101, 3), Timing(10, 10, 10, 1)
    assert time_ratio(many, one).verdict == "noise"
    assert time_ratio(one, many).verdict == "noise"


def test_the_timing_of_a_measurement_is_that_of_its_blocks():
    assert timing_of(spread([1, 2, 3, 10, 20, 30], [0, 0, 0, 1, 1, 1])) == Timing(6.5, 2.0, 20.0, 2)
