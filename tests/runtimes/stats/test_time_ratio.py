"""How many times as long one thing takes as another: by hand, by tables, and by repetition."""

import math
import random

import pytest

from compactor_runtimes.stats import time_ratio as module
from compactor_runtimes.stats.percentiles import spread
from compactor_runtimes.stats.time_ratio import Timing, time_ratio, timing_of


def of_blocks(*blocks_ns, session=""):
    return Timing(sorted(blocks_ns)[len(blocks_ns) // 2], blocks_ns, session)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(45, 55, "better"), (85, 95, "noise"), (85, 90, "noise"), (120, 130, "worse"), (110, 120, "noise")],
)
def test_of_a_few_blocks_only_those_that_do_not_overlap_are_a_difference(low, high, verdict):
    middle = (low + high) / 2
    found = time_ratio(of_blocks(90, 100, 110), of_blocks(low, middle, high))
    assert found.value == pytest.approx(middle / 100)
    assert (found.low, found.high) == (pytest.approx(low / 110), pytest.approx(high / 90))
    assert found.verdict == verdict


def test_a_single_block_on_either_side_is_noise():
    many, one = of_blocks(99, 100, 101), of_blocks(10)
    assert time_ratio(many, one).verdict == "noise"
    assert time_ratio(one, many).verdict == "noise"


def test_ranks_are_counted_as_tables_say():
    """Hollander and Wolfe, tables A.4 and A.6: P(T+ <= 3) of 9 pairs is 5/512."""
    assert sum(module._signed_ranks(9)[:4]) == 5
    assert sum(module._signed_ranks(9)) == 512
    assert module._rank_sums(2, 3) == module._rank_sums(3, 2) == [1, 1, 2, 2, 2, 1, 1]
    assert sum(module._rank_sums(5, 5)) == math.comb(10, 5)


def test_pairs_of_one_session_cancel_what_the_machine_did_to_both():
    """Blocks wander by a factor of 3, and each of b takes 1.1 times as long as its neighbour."""
    a = [100.0 * (1 + index % 3) for index in range(8)]
    b = [1.1 * value for value in a]
    paired = time_ratio(of_blocks(*a, session="s"), of_blocks(*b, session="s"))
    assert (paired.value, paired.low, paired.high) == (pytest.approx(1.1),) * 3
    assert paired.verdict == "worse"
    assert time_ratio(of_blocks(*a), of_blocks(*b)).verdict == "noise"
    assert time_ratio(of_blocks(*a, session="s"), of_blocks(*b, session="t")).verdict == "noise"


def test_eight_pairs_take_the_whole_range_and_nine_leave_one_out():
    """P(T+ = 0) of 8 pairs is 1/256, under 0.5%; P(T+ <= 1) of 9 is 2/512, and P(T+ <= 2) is over it."""
    steps = [math.exp(0.01 * index) for index in range(1, 10)]
    eight = time_ratio(of_blocks(*[1.0] * 8, session="s"), of_blocks(*steps[:8], session="s"))
    assert (eight.low, eight.high) == (pytest.approx(steps[0]), pytest.approx(steps[7]))
    nine = time_ratio(of_blocks(*[1.0] * 9, session="s"), of_blocks(*steps, session="s"))
    # of the means of all pairs the smallest is 0.01, the second 0.015
    assert (nine.low, nine.high) == (pytest.approx(math.exp(0.015)), pytest.approx(math.exp(0.085)))
    seven = time_ratio(of_blocks(*[1.0] * 7, session="s"), of_blocks(*steps[:7], session="s"))
    assert seven.verdict == "worse"  # they lie apart altogether, though no interval of 99% can be had


@pytest.mark.slow
@pytest.mark.parametrize("session", ["s", ""])
@pytest.mark.parametrize("blocks", [8, 12, 40])
def test_no_difference_is_called_noise_99_times_in_100(session, blocks):
    draw = random.Random(5)
    wrong = sum(
        time_ratio(
            *(
                of_blocks(*(draw.lognormvariate(0, 0.05) for _ in range(blocks)), session=session)
                for _ in "ab"
            )
        ).verdict
        != "noise"
        for _ in range(300)
    )
    assert wrong <= 9  # of Binomial(300, 0.01) more than 9 come once in 700 times


def test_the_timing_of_a_measurement_is_that_of_its_blocks():
    found = timing_of(spread([1, 2, 3, 10, 20, 30], [0, 0, 0, 1, 1, 1]), "s")
    assert found == Timing(6.5, (2.0, 20.0), "s")
