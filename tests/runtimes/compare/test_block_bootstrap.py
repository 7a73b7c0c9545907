"""Percentiles of blocks that are drawn again: against sorting, and by hand where all blocks are alike."""

import math

import numpy as np
import pytest

from compactor_runtimes.compare.block_bootstrap import _percentiles, _student, percentile_ratio
from compactor_runtimes.stats.percentiles import percentile


def test_equal_blocks_leave_no_doubt():
    a, b = [list(range(1, 101))] * 8, [list(range(2, 202, 2))] * 8
    assert percentile_ratio(a, b, 0.9, paired=False, resamples=100) == pytest.approx((2, 2, 2))


def test_the_percentile_of_drawn_blocks_is_that_of_all_their_samples():
    rng = np.random.default_rng(0)
    blocks = [rng.integers(1, 50, size).tolist() for size in (3, 40, 17)]
    counts = np.array([[1, 1, 1], [3, 0, 0], [0, 2, 1]])
    for q in (0.5001, 0.9, 0.95):
        found = _percentiles(blocks, counts, q)
        for row, value in zip(counts, found, strict=True):
            pool = sorted(
                sample for times, block in zip(row, blocks, strict=True) for sample in block * times
            )
            assert value == pool[math.ceil(q * len(pool)) - 1]
    whole = [sample for block in blocks for sample in block]
    assert _percentiles(blocks, counts[:1], 0.9)[0] == percentile(whole, 0.9).value_ns


def test_blocks_that_drift_together_are_told_apart_in_pairs_alone():
    drift = [100, 110, 120, 130, 140, 150, 160, 170]
    a = [[level * k for k in range(1, 11)] for level in drift]
    b = [[round(1.05 * value) for value in block] for block in a]
    _, low, high = percentile_ratio(a, b, 0.9, paired=True)
    assert 1.03 < low <= 1.05 <= high < 1.07
    _, low, high = percentile_ratio(a, b, 0.9, paired=False)
    assert low < 0.9
    assert high > 1.2


def test_few_blocks_widen_the_interval():
    """Student's t at 0.995 by its table: 3.499 at 7 degrees of freedom, 3.106 at 11, 2.756 at 29."""
    assert [round(_student(0.995, freedom), 1) for freedom in (7, 11, 29)] == [3.5, 3.1, 2.8]
    rng = np.random.default_rng(0)
    a, b = ([rng.integers(90, 110, 5).tolist() for _ in range(2)] for _ in range(2))
    with pytest.raises(ValueError, match="got 1 and 2 blocks"):
        percentile_ratio(a[:1], b, 0.9, paired=False)
    with pytest.raises(ValueError, match="in pairs as many"):
        percentile_ratio(a, [*b, [1]], 0.9, paired=True)


@pytest.mark.slow
def test_an_interval_of_99_percent_holds_the_truth_so_often():
    """Equal machines with drifting blocks: at most 6 of 200 intervals may miss (2 expected, p < 0.02)."""
    rng = np.random.default_rng(3)

    def side():
        return [
            (1e6 * np.exp(level + rng.lognormal(-3.5, 1, 39))).astype(int).tolist()
            for level in rng.normal(0, 0.03, 12)
        ]

    held = 0
    for seed in range(200):
        _, low, high = percentile_ratio(side(), side(), 0.95, paired=False, seed=seed, resamples=1000)
        held += low <= 1 <= high
    assert held >= 194
