"""Percentile licences, order-statistic bounds and spreads, against hand computation and brute force."""

import itertools
import math
import random

import pytest

from compactor_runtimes.stats.percentiles import (
    format_ns,
    licence,
    log_binomial_pmf,
    percentile,
    samples_needed,
    spread,
    upper_rank,
)


@pytest.mark.parametrize(("q", "n"), [(0.9, 44), (0.95, 90), (0.99, 459), (0.999, 4603)])
def test_licence_is_the_smallest_n_whose_maximum_bounds_the_quantile(q, n):
    assert licence(q) == n
    assert q**n <= 0.01 < q ** (n - 1)


def test_median_needs_one_sample_only():
    assert licence(0.5) == 1
    assert samples_needed(0.5) == 7  # 2^-7 = 0.0078: from here on the median has an upper bound too


def test_percentile_below_its_licence_is_not_a_number():
    result = percentile(range(458), 0.99)
    assert (result.value_ns, result.upper_ns, result.n, result.needed) == (None, None, 458, 459)
    assert str(result) == "n/a (needs 459, has 458)"


def test_percentile_with_exactly_its_licence_is_bounded_by_the_maximum():
    samples = list(range(1, 460))
    random.Random(0).shuffle(samples)
    result = percentile(samples, 0.99)
    assert result.value_ns == 455  # nearest rank: ceil(0.99 x 459 = 454.41)
    assert result.upper_ns == 459


def test_nearest_rank_is_not_pushed_up_by_float_error():
    assert percentile(range(1, 101), 0.07).value_ns == 7  # 0.07 * 100 > 7 in floats


def test_even_median_is_the_mean_of_the_middle_two():
    assert percentile([4, 1, 3, 10], 0.5).value_ns == 3.5


def test_median_of_few_samples_has_no_upper_bound_and_of_seven_the_maximum():
    assert percentile([5, 1, 2], 0.5).upper_ns is None
    assert percentile([7, 6, 5, 4, 3, 2, 1], 0.5).upper_ns == 7


def test_upper_bound_rank_equals_exhaustive_counting():
    """Enumerate all 2^10 patterns of ten samples below/above the median: no formula shared with the code."""
    below = [sum(pattern) for pattern in itertools.product((0, 1), repeat=10)]
    wanted = min(k for k in range(1, 11) if sum(count >= k for count in below) / 1024 <= 0.01)
    assert upper_rank(10, 0.5) == wanted == 10


@pytest.mark.parametrize(("n", "q"), [(60, 0.9), (100, 0.5), (200, 0.95), (1000, 0.9), (459, 0.99)])
def test_upper_bound_rank_equals_exact_binomial_sums(n, q):
    def tail(k):
        return sum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k, n + 1))

    rank = upper_rank(n, q)
    assert tail(rank) <= 0.01 < tail(rank - 1)


def test_upper_bound_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for n, q in [(44, 0.9), (5000, 0.999), (100_000, 0.5)]:
        # smallest k with P(X <= k - 1) >= 0.99
        assert upper_rank(n, q) == int(stats.binom.ppf(0.99, n, q)) + 1


def test_upper_bound_covers_the_true_quantile_as_promised():
    rng, q, rank = random.Random(1), 0.9, upper_rank(100, 0.9)
    covered = sum(sorted(rng.random() for _ in range(100))[rank - 1] >= q for _ in range(2000))
    assert covered / 2000 >= 0.985  # promised 0.99, three standard errors of 2000 trials are 0.0067


def test_binomial_probability_by_hand():
    assert math.exp(log_binomial_pmf(2, 4, 0.5)) == pytest.approx(6 / 16, rel=1e-12)


def test_spread_by_hand():
    result = spread([10, 20, 30, 100, 40], [0, 0, 1, 1, 1])
    assert (result.n, result.median_ns, result.min_ns, result.max_ns) == (5, 30, 10, 100)
    assert result.mad_ns == 10  # deviations 20 10 0 70 10
    assert result.block_medians_ns == [15, 40]
    assert result.block_drift == pytest.approx(40 / 15 - 1)


@pytest.mark.parametrize("q", [0, 1, -0.1, 99])
def test_percentile_out_of_range_is_refused(q):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        percentile([1, 2], q)


def test_spread_refuses_nothing_and_unequal_lengths():
    with pytest.raises(ValueError, match="0 samples"):
        spread([], [])
    with pytest.raises(ValueError, match="2 samples and 1 block ids"):
        spread([1, 2], [0])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (850, "850 ns"),
        (2_214_000, "2.21 ms"),
        (999_600, "1.00 ms"),
        (12_340, "12.3 µs"),
        (1.32e9, "1.32 s"),
        (0, "0.00 ns"),
    ],
)
def test_durations_carry_their_unit(value, text):
    assert format_ns(value) == text
