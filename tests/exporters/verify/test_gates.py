"""Gates against bounds computed by hand."""

import numpy as np
import pytest

from compactor_exporters.verify.gates import judge_agreement, judge_drop, judge_map_drop, raise_for_gates
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.errors import AccuracyGateError, NumericGateError, UsageError
from compactor_runtimes.stats.metrics import Interval, lower_bound_one_sided
from compactor_runtimes.stats.multi_label import MapDifference


def flags(true: int, false: int) -> np.ndarray:
    return np.array([True] * true + [False] * false)


def test_all_agree_is_bounded_by_the_nth_root_of_a_twentieth():
    check = judge_agreement(flags(100, 0), 0.97, precision="int8")
    assert check.value == pytest.approx(0.05 ** (1 / 100))  # 0.97049
    assert check.passed


@pytest.mark.parametrize(("n", "passed"), [(148, False), (149, True)])
def test_98_percent_needs_149_samples(n, passed):
    check = judge_agreement(flags(n, 0), 0.98, precision="int8")
    assert check.passed is passed
    assert ("needs 149" in check.detail) is not passed


def test_fp32_is_judged_by_the_share_observed():
    assert judge_agreement(flags(10, 0), 0.9999, precision="fp32").passed
    check = judge_agreement(flags(99, 1), 0.9999, precision="fp32")
    assert not check.passed
    assert check.value == 0.99


def test_the_message_says_what_a_match_is():
    check = judge_agreement(flags(0, 700), 0.98, precision="int8", meaning="have a cosine of at least 0.999")
    assert check.detail.startswith("0 of 700 samples have a cosine of at least 0.999 (0.00%), 95% lower")


def test_a_share_below_the_minimum_is_a_plain_failure():
    check = judge_agreement(flags(97, 3), 0.98, precision="int8")
    assert not check.passed
    assert "cannot be decided" not in check.detail


def test_an_undecidable_share_names_a_number_that_decides_it():
    check = judge_agreement(flags(198, 2), 0.98, precision="fp16")
    assert not check.passed
    needed = int(check.detail.rpartition("needs ")[2])
    assert needed > 200
    assert judge_agreement(flags(needed - needed // 100, needed // 100), 0.98, precision="fp16").passed


def test_no_pair_lost_passes_for_fp32_and_needs_samples_otherwise():
    same = flags(90, 10)
    assert judge_drop(same, same, 0.5, precision="fp32").passed
    check = judge_drop(same, same, 0.5, precision="int8")
    assert not check.passed
    assert check.value == pytest.approx(100 * (1 - 0.05 ** (1 / 100)))  # 2.95 points
    assert check.detail.endswith("needs 598")  # 0.995 ** 598 = 0.0499
    assert judge_drop(flags(598, 0), flags(598, 0), 0.5, precision="int8").passed


def test_the_score_bound_solves_tangos_equation():
    # 30 lost, 20 won of 1000: the bound d satisfies (10 - 1000 d)^2 = 1.645^2 * 1000 (2 q + d (1 - d)); with
    # q near 0.02 that is about 0.01 + 1.645 * sqrt(50 / 1000^2) = 2.2 points.
    reference = np.array([True] * 30 + [False] * 20 + [True] * 950)
    artifact = np.array([False] * 30 + [True] * 20 + [True] * 950)
    check = judge_drop(reference, artifact, 3.0, precision="int8")
    assert check.passed
    assert check.value == pytest.approx(2.2, abs=0.06)
    d, n, won, lost = check.value / 100, 1000, 20, 30
    b, c = -lost - won + (2 * n - lost + won) * d, -won * d * (1 - d)
    q = (np.sqrt(b * b - 8 * n * c) - b) / (4 * n)
    assert (lost - won - n * d) / np.sqrt(n * (2 * q + d * (1 - d))) == pytest.approx(-1.6449, abs=1e-3)


def test_a_drop_above_the_limit_is_a_plain_failure():
    check = judge_drop(flags(100, 0), flags(90, 10), 0.5, precision="fp32")
    assert not check.passed
    assert "10 samples lost, 0 won of 100 (+10.00 points lost)" in check.detail
    assert "cannot be decided" not in check.detail


def test_a_gain_passes_when_there_are_enough_samples():
    reference, artifact = flags(900, 100), flags(920, 80)
    check = judge_drop(reference, artifact, 0.5, precision="int8")
    assert check.passed
    assert check.value < 0


@pytest.mark.parametrize("minimum", [0.0, 1.0, 1.5])
def test_a_share_that_nothing_proves_is_refused(minimum):
    with pytest.raises(UsageError, match="min-agreement"):
        judge_agreement(flags(10, 0), minimum, precision="int8")


def test_samples_must_be_there_and_paired():
    with pytest.raises(UsageError, match=r"bool \[N\]"):
        judge_agreement(flags(0, 0).astype(bool), 0.9, precision="fp32")
    with pytest.raises(UsageError, match="same samples"):
        judge_drop(flags(10, 0), flags(9, 0), 0.5, precision="fp32")
    with pytest.raises(UsageError, match="0 points"):
        judge_drop(flags(10, 0), flags(10, 0), 0, precision="fp32")


def test_the_first_failure_becomes_its_error():
    good = Check(name="shape-grid", passed=True)
    numbers = Check(name="real-samples", passed=False, value=0.01, limit=1e-5, detail="output 'logits'")
    share = judge_agreement(flags(10, 10), 0.9, precision="fp32")
    drop = judge_drop(flags(100, 0), flags(90, 10), 0.5, precision="fp32")
    raise_for_gates([good])
    with pytest.raises(
        NumericGateError, match="'real-samples' failed: found 0.01, limit 1e-05, output 'logits'"
    ):
        raise_for_gates([good, numbers, share])
    with pytest.raises(AccuracyGateError, match="'min-agreement' failed: found 0.5, limit 0.9, 10 of 20"):
        raise_for_gates([good, share, numbers])
    with pytest.raises(AccuracyGateError, match="'max-drop'"):
        raise_for_gates([drop])


def test_shares_of_decisions_are_bounded_as_if_a_sample_were_one_trial():
    """400 samples, of each of 40 one of ten decisions differs: 396 of 400 trials, so 97.7% at least."""
    shares = np.where(np.arange(400) < 40, 0.9, 1.0)
    check = judge_agreement(shares, 0.97, precision="int8")
    assert (check.observed, check.n) == (pytest.approx(0.99), 400)
    assert check.value == pytest.approx(lower_bound_one_sided(396, 400))
    assert check.passed
    assert "99.000% of the decisions on 400 samples agree" in check.detail
    assert judge_agreement(np.ones(10), 1.0, precision="fp32").passed
    assert not judge_agreement(shares, 0.995, precision="fp32").passed


def difference(value, bound, n=200):
    interval = Interval(value=value, low=value - 0.01, high=value + 0.01, n=n)
    return MapDifference(interval=interval, p=1.0, drop_bound=bound)


@pytest.mark.parametrize(
    ("value", "bound", "precision", "passed"),
    [
        (-0.002, 0.004, "int8", True),
        (-0.002, 0.006, "int8", False),  # undecided
        (-0.02, 0.03, "int8", False),
        (0.01, 0.001, "fp16", True),
        (0.0, 0.006, "fp32", True),  # the student's own mAP
    ],
)
def test_a_drop_of_map_is_judged_by_its_bound(value, bound, precision, passed):
    check = judge_map_drop(difference(value, bound), 0.5, precision=precision)
    assert check.passed is passed
    assert check.observed == pytest.approx(-100 * value)
    assert ("cannot be decided" in check.detail) is ((value, bound) == (-0.002, 0.006))
    with pytest.raises(UsageError, match="expected more than 0"):
        judge_map_drop(difference(0.0, 0.0), 0.0, precision=precision)
