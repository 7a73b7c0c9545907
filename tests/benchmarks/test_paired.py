"""Differences of arms by hand: the noise of samples, the noise of seeds, and Holm's rule."""

import math

import numpy as np

from benchmarks.paired import difference, rejected_by_holm, seed_variance


def test_seeds_that_agree_leave_the_noise_of_samples() -> None:
    """Of 4 samples one is gained: differences 1, 0, 0, 0, mean .25, variance .25, over 4: error .25."""
    before, after = np.array([[False, True, True, True]]), np.array([[True, True, True, True]])
    found = difference(before, after, seeds_variance=0.0)
    assert found.value == 0.25
    assert math.isclose(found.high - found.value, 1.959964 * 0.25, rel_tol=1e-6)
    assert math.isclose(found.p, 0.317311, rel_tol=1e-4)  # of a normal variable beyond one deviation


def test_seeds_add_their_noise() -> None:
    """Accuracies .5 and 1 of one arm, .5 and .5 of another: squares .125 and 0, two degrees of freedom."""
    arms = {
        "a": np.array([[True, False], [True, True]]),
        "b": np.array([[True, False], [False, True]]),
        "one seed": np.array([[True, True]]),
    }
    assert seed_variance(arms) == 0.0625
    same = np.array([[True, False]] * 2)
    found = difference(same, same, seeds_variance=0.0625)
    assert math.isclose(found.high, 1.959964 * math.sqrt(0.0625 * (1 / 2 + 1 / 2)), rel_tol=1e-6)
    assert found.p == 1.0


def test_holm_stops_at_the_first_that_is_too_large() -> None:
    """Of 4 at 5%: .0125, .0167, .025, .05; the third fails, so the fourth does, whatever it is."""
    p_values = {"a": 0.010, "b": 0.016, "c": 0.030, "d": 0.040}
    assert rejected_by_holm(p_values) == {"a", "b"}
    assert rejected_by_holm({"a": 0.051}) == set()
    assert rejected_by_holm({}) == set()
