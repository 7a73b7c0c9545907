"""Intervals and paired differences of settings on select."""

import numpy as np
import pytest

from compactor.recommend.scores import Score
from compactor_runtimes.stats.metrics import wilson


def of(*rows: list[int]) -> Score:
    right = np.array(rows, bool)
    return Score("accuracy", [float(row.mean()) for row in right], right.shape[1], right)


def test_one_seed_has_wilsons_interval_and_several_one_over_samples() -> None:
    one = of([1] * 8 + [0] * 2)
    assert (one.value, one.interval) == (0.8, wilson(8, 10))
    two = of([1] * 10, [0] * 10)
    assert two.value == 0.5
    assert two.interval == (0.5, 0.5)  # every sample is right in one seed of two: samples do not differ


def test_a_difference_is_paired_and_in_points() -> None:
    best, same, worse = of([1] * 100), of([1] * 99 + [0]), of([0] * 100)
    found = same.minus(best)
    assert found is not None
    assert found.points == pytest.approx(-1.0)
    assert found.is_noise
    lost = worse.minus(best)
    assert lost is not None
    assert (lost.points, lost.low, lost.high, lost.is_noise) == (-100.0, -100.0, -100.0, False)


def test_a_figure_that_no_sample_is_right_or_wrong_in_has_no_interval_and_no_test() -> None:
    figure = Score("map", [0.5, 0.7], 30)
    assert figure.value == pytest.approx(0.6)
    assert figure.interval is None
    assert figure.minus(of([1])) is None
