"""The slope of a line through noisy points."""

import random

import pytest

from compactor_runtimes.stats.slope import slope


def test_a_line_has_its_own_slope_and_no_width():
    found = slope([0, 1, 2, 3, 4, 5, 6, 7], [5, 7, 9, 11, 13, 15, 17, 19])
    assert (found.value, found.low, found.high) == (2, 2, 2)


def test_one_wild_point_does_not_move_it():
    y = [float(index) for index in range(20)]
    y[7] = 10_000
    assert slope(range(20), y).value == pytest.approx(1)


def test_noise_has_an_interval_around_zero():
    draw = random.Random(1)
    found = slope(range(60), [draw.gauss(0, 1) for _ in range(60)])
    assert found.low < 0 < found.high


def test_few_points_or_one_place_tell_nothing():
    assert slope(range(7), range(7)) is None
    assert slope([1] * 20, range(20)) is None


def test_thousands_of_points_are_thinned():
    found = slope(range(5000), [3 * index for index in range(5000)])
    assert found.value == 3
