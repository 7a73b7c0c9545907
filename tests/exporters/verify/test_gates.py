"""Gates against bounds computed by hand."""

import numpy as np
import pytest

from compactor_exporters.verify.gates import judge_agreement, judge_drop, raise_for_gates
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.errors import AccuracyGateError, NumericGateError, UsageError


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
