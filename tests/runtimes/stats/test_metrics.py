"""Every statistic against a value computed by hand, or against scipy where it is installed."""

import math

import numpy as np
import pytest

from compactor_runtimes.stats import metrics
from compactor_runtimes.stats.metrics import Interval


def logits_of(*classes, num_classes=3):
    return np.eye(num_classes)[list(classes)] * 5


def test_accuracy_ignores_unlabelled_positions():
    assert metrics.accuracy(logits_of(0, 1, 2, 0), [0, 1, 1, -100]) == pytest.approx(2 / 3)


def test_accuracy_of_token_positions():
    logits = logits_of(0, 1, 2, 0).reshape(2, 2, 3)
    assert metrics.accuracy(logits, [[0, -100], [-100, 1]]) == 0.5


def test_accuracy_without_any_label_is_refused():
    with pytest.raises(ValueError, match="no labelled position among 2"):
        metrics.accuracy(logits_of(0, 1), [-100, -100])


def test_shape_mismatch_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and labels \(3,\)"):
        metrics.accuracy(logits_of(0, 1), [0, 1, 2])
    with pytest.raises(ValueError, match="expected the same"):
        metrics.agreement(logits_of(0, 1), logits_of(0))


def test_agreement_is_the_share_of_equal_top_classes():
    a, b = logits_of(0, 1, 2, 2), logits_of(0, 1, 1, 0)
    assert metrics.agreement(a, b) == 0.5
    assert metrics.agreement(a, b, [0, 0, 0, -100]) == pytest.approx(2 / 3)


def test_kl_by_hand():
    p, q = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]])
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)  # 0.1438
    assert metrics.mean_kl(p + 7, q - 3) == pytest.approx(first / 2, rel=1e-12)  # logits may be shifted
    assert metrics.mean_kl(p, q, [1, -100]) == pytest.approx(first, rel=1e-12)
    # the direction matters: KL(q || p) is 0.25 ln(0.25/0.5) + 0.75 ln(0.75/0.5)
    assert metrics.mean_kl(q, p, [1, -100]) == pytest.approx(
        0.25 * math.log(0.5) + 0.75 * math.log(1.5), rel=1e-12
    )


def test_kl_of_extreme_logits_stays_finite():
    assert metrics.mean_kl([[2000.0, 0.0]], [[0.0, 1000.0]]) == pytest.approx(1000)
    # all mass on one class, as a label store of hard labels has it: -log softmax(q)[0]
    assert metrics.mean_kl([[0.0, -np.inf]], [[0.0, 0.0]]) == pytest.approx(np.log(2))


def test_ece_by_hand():
    # bins of width 0.5: (0.5, 1] holds all three: confidence 0.8 + 0.6 + 1.0, two right
    probs = [[0.8, 0.2], [0.4, 0.6], [1.0, 0.0], [0.7, 0.3]]
    assert metrics.ece(probs, [0, 0, 0, -100], bins=2) == pytest.approx(abs(2.4 - 2) / 3)
    # 5 bins: 0.6 lies in (0.4, 0.6] alone and is wrong; 0.8 in (0.6, 0.8], right; 1.0 in the last, right
    assert metrics.ece(probs, [0, 0, 0, -100], bins=5) == pytest.approx((0.6 + 0.2 + 0.0) / 3)


def discordant(b, c, both=5):
    """Correctness of a and b with `b` samples only a gets right, `c` only b."""
    a = [True] * b + [False] * c + [True] * both
    return a, [False] * b + [True] * c + [True] * both


def test_mcnemar_by_hand():
    result = metrics.mcnemar(*discordant(1, 5))
    assert (result.b, result.c) == (1, 5)
    assert result.p == pytest.approx(2 * (1 + 6) / 64)  # 0.21875
    assert metrics.mcnemar(*discordant(0, 10)).p == pytest.approx(2 / 1024)


def test_mcnemar_without_a_difference_is_certain_noise():
    assert metrics.mcnemar(*discordant(0, 0)).p == 1
    assert metrics.mcnemar(*discordant(4, 4)).p == 1


@pytest.mark.parametrize(("b", "c"), [(3, 12), (40, 21), (700, 800), (7, 8)])
def test_mcnemar_agrees_with_scipy(b, c):
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(b, b + c, 0.5).pvalue
    assert metrics.mcnemar(*discordant(b, c)).p == pytest.approx(wanted, rel=1e-9)


def test_mcnemar_refuses_several_seeds():
    with pytest.raises(ValueError, match="expected twice"):
        metrics.mcnemar([[True]], [[True]])


def test_bootstrap_value_is_b_minus_a_and_the_interval_matches_the_normal_limit():
    a, b = discordant(30, 70, both=900)
    result = metrics.bootstrap_difference(a, b)
    assert (result.value, result.n) == (pytest.approx(0.04), 1000)
    half = 1.96 * math.sqrt((0.1 - 0.04**2) / 1000)  # variance of a -1/0/+1 variable: E[d^2] - E[d]^2
    assert result.low == pytest.approx(0.04 - half, abs=0.0015)
    assert result.high == pytest.approx(0.04 + half, abs=0.0015)


def test_bootstrap_matches_one_that_resamples_indices():
    rng = np.random.default_rng(3)
    a, b = rng.random((3, 80)) < 0.8, rng.random((2, 80)) < 0.9
    difference = b.mean(0) - a.mean(0)
    plain = difference[rng.integers(0, 80, (20_000, 80))].mean(1)
    result = metrics.bootstrap_difference(a, b, resamples=20_000)
    assert result.value == pytest.approx(difference.mean(), rel=1e-12)
    # 20,000 resamples place a 95% limit within a few percent of a standard error (0.05 here)
    np.testing.assert_allclose([result.low, result.high], np.quantile(plain, [0.025, 0.975]), atol=0.006)


def test_bootstrap_is_reproducible_and_depends_on_its_seed():
    a, b = discordant(5, 9, both=37)
    assert metrics.bootstrap_difference(a, b, seed=1) == metrics.bootstrap_difference(a, b, seed=1)
    assert metrics.bootstrap_difference(a, b, seed=1, resamples=50) != metrics.bootstrap_difference(
        a, b, seed=2, resamples=50
    )


def test_bootstrap_of_equal_answers_is_exactly_zero():
    assert metrics.bootstrap_difference([True, False], [True, False]) == Interval(value=0, low=0, high=0, n=2)


def test_bootstrap_refuses_other_samples():
    with pytest.raises(ValueError, match="same N"):
        metrics.bootstrap_difference([True], [True, False])


def test_wilson_by_hand():
    low, high = metrics.wilson(8, 10)
    z2 = 1.959964**2
    centre, half = (8 + z2 / 2) / (10 + z2), math.sqrt(z2 * (0.8 * 0.2 / 10 + z2 / 400)) / (1 + z2 / 10)
    assert (low, high) == (pytest.approx(centre - half, abs=1e-6), pytest.approx(centre + half, abs=1e-6))
    assert (low, high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )  # published example
    assert metrics.wilson(0, 10)[0] == 0
    assert metrics.wilson(10, 10)[1] == 1


def test_lower_bound_of_all_successes_is_the_root_of_alpha():
    assert metrics.lower_bound_one_sided(10, 10) == pytest.approx(0.05**0.1, rel=1e-9)
    assert metrics.lower_bound_one_sided(0, 10) == 0


def test_lower_bound_by_exact_sum():
    p = metrics.lower_bound_one_sided(8, 10)
    tail = sum(math.comb(10, i) * p**i * (1 - p) ** (10 - i) for i in (8, 9, 10))
    assert tail == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [(1, 10), (49, 50), (440, 450), (9990, 10_000), (2500, 10_000)])
def test_lower_bound_agrees_with_scipy(k, n):
    stats = pytest.importorskip("scipy.stats")
    assert metrics.lower_bound_one_sided(k, n) == pytest.approx(stats.beta.ppf(0.05, k, n - k + 1), rel=1e-8)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_impossible_counts_are_refused(k, n):
    for bound in (metrics.wilson, metrics.lower_bound_one_sided):
        with pytest.raises(ValueError, match=f"k={k}, n={n}"):
            bound(k, n)


@pytest.mark.parametrize(("minimum", "n"), [(0.98, 149), (0.995, 598), (0.9999, 29_956), (0.5, 5)])
def test_samples_needed_is_the_smallest_n_that_can_prove_the_minimum(minimum, n):
    assert metrics.samples_needed(minimum) == n
    assert metrics.lower_bound_one_sided(n, n) >= minimum > metrics.lower_bound_one_sided(n - 1, n - 1)


def test_certainty_cannot_be_proved():
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        metrics.samples_needed(1.0)


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "verdict"),
    [
        (0.01, -0.01, 0.03, 0.001, "noise"),  # the interval holds 0
        (0.02, 0.01, 0.03, 0.2, "noise"),  # the paired test does not reject
        (0.02, 0.01, 0.03, 0.01, "better"),
        (-0.02, -0.03, -0.01, 0.01, "worse"),
        (0.0, 0.0, 0.0, 1.0, "noise"),
    ],
)
def test_a_difference_counts_only_if_both_tests_say_so(value, low, high, p, verdict):
    assert metrics.noise_verdict(Interval(value=value, low=low, high=high, n=100), p) == verdict


def test_cosines_by_hand():
    a, b = [[1, 0], [3, 4], [1, 0], [0, 0]], [[5, 0], [-3, -4], [1, 1], [1, 0]]
    np.testing.assert_allclose(metrics.cosines(a, b), [1, -1, math.sqrt(0.5), 0], rtol=1e-12, atol=1e-12)
    for other in ([[1, 0, 0]] * 4, [1, 0]):
        with pytest.raises(ValueError, match=r"expected twice \[N, D\]"):
            metrics.cosines(a, other)


def at_angles(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], 1)


def test_rank_correlation_by_hand():
    # pairs (0,1) (0,2) (1,2): angles 10, 40, 30 have cosine ranks 3, 1, 2; angles 50, 60, 10 have 2, 1, 3
    result = metrics.rank_correlation(at_angles(0, 10, 40), at_angles(0, 50, 60))
    # squared rank differences 1 + 0 + 1: 1 - 6 * 2 / (3 * 8)
    assert (result.value, result.n) == (pytest.approx(0.5), 3)
    assert result.low <= result.value <= result.high


def test_rank_correlation_ignores_lengths_and_any_growing_map_of_similarities():
    a = at_angles(0, 5, 20, 50, 85)
    stretched = a * np.arange(1, 6)[:, None]
    squeezed = at_angles(0, 2.5, 10, 25, 42.5)  # half of each angle: other cosines, same order
    for b in (a, stretched, squeezed, np.pad(a, ((0, 0), (0, 3)))):
        result = metrics.rank_correlation(a, b)
        assert (result.value, result.high) == (pytest.approx(1), pytest.approx(1))


def test_rank_correlation_of_a_collapsed_model_is_zero():
    a = at_angles(0, 5, 20, 50)
    assert metrics.rank_correlation(a, np.ones((4, 3))).value == 0
    assert metrics.rank_correlation(np.ones((4, 3)), a).value == 0


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_agrees_with_scipy(ties):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    b[:, :3] += a[:, :3]
    if ties:
        a, b = np.sign(a), np.sign(b)
    i, j = np.triu_indices(40, 1)
    sides = []
    for one in (a, b):
        unit = one / np.linalg.norm(one, axis=1, keepdims=True)
        sides.append(np.round((unit @ unit.T)[i, j], 9))
    result = metrics.rank_correlation(a, b)
    assert result.value == pytest.approx(stats.spearmanr(*sides).statistic, abs=1e-12)
    assert result.low < result.value < result.high


def test_rank_correlation_bootstrap_is_that_of_repeated_samples():
    """Weighing a pair by how often its samples were drawn equals repeating it, ties included."""
    from compactor_runtimes.stats.embeddings import weighted_spearman

    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    a, b, weights = rng.integers(0, 4, 30), rng.integers(0, 5, 30), rng.integers(0, 4, 30)
    expected = stats.spearmanr(np.repeat(a, weights), np.repeat(b, weights)).statistic
    assert weighted_spearman(a, b, weights.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_of_many_samples_compares_500_of_them():
    rng = np.random.default_rng(6)
    a = rng.normal(size=(700, 8))
    b = a + rng.normal(size=(700, 8))
    first, again = (metrics.rank_correlation(a, b, resamples=5) for _ in range(2))
    assert first == again
    assert first.n == 500
    assert metrics.rank_correlation(a, b, seed=1, resamples=5) != first


def test_rank_correlation_needs_three_samples_of_both():
    for a, b in ((np.ones((2, 3)), np.ones((2, 3))), (np.ones((4, 3)), np.ones((5, 3)))):
        with pytest.raises(ValueError, match=r"with N of at least 3"):
            metrics.rank_correlation(a, b)
