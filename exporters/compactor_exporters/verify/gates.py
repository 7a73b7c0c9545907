"""Gates: how many samples agree, how much accuracy was lost, and which error a failed check becomes.

A bound decides, not the observed share: a gate that the samples at hand cannot decide has failed, and says
how many samples would decide it.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from compactor_exporters.graph.weight_types import PRECISION_CHECK
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.errors import (
    AccuracyGateError,
    CompactorError,
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.stats.metrics import lower_bound_one_sided, samples_needed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.stats.multi_label import MapDifference

Precision = Literal["fp32", "fp16", "int8"]

AGREEMENT_GATE, DROP_GATE = "min-agreement", "max-drop"
_ACCURACY_CHECKS = {AGREEMENT_GATE, DROP_GATE, "agreement"}

_Z95 = 1.6448536269514722  # 95% quantile of the standard normal distribution, one-sided
_MANY = 1_000_000  # more samples than any select split has; beyond it a needed number is not worth computing


def judge_agreement(
    matches: "NDArray[np.bool_] | NDArray[np.float64]",
    minimum: float,
    *,
    precision: Precision,
    meaning: str = "agree",
) -> Check:
    """Judge in how many samples the artifact and the student give the same answer.

    fp32 is judged by the observed share, since its proof is the numeric limit; fp16 and int8 by the one-sided
    95% lower Clopper-Pearson bound.

    Args:
        matches: bool [N], real select samples; or float [N], the share of each sample's decisions that agree.
            The bound counts a sample as one trial then, however many decisions it has: these are not
            independent, and shares vary less than trials of the same mean.
        minimum: smallest allowed share, strictly between 0 and 1 (1 is allowed for fp32).
        precision: of the artifact.
        meaning: what samples that match do, for the message.

    Raises:
        UsageError: no samples, or a minimum that no number of samples can prove.
    """
    n, k = _count(matches, AGREEMENT_GATE), math.floor(float(matches.sum()) + 1e-9)
    share = float(matches.mean())
    if not 0 < minimum <= 1 or (minimum == 1 and precision != "fp32"):
        raise UsageError(
            f"gate {AGREEMENT_GATE}: got {minimum} for {precision}, expected a share above 0 and below 1"
        )
    observed = f"{k} of {n} samples {meaning}"
    if matches.dtype != bool:
        observed = f"{100 * share:.3f}% of the decisions on {n} samples {meaning}"
    if precision == "fp32":
        return Check(
            name=AGREEMENT_GATE,
            passed=share >= minimum,
            value=share,
            observed=share,
            limit=minimum,
            n=n,
            detail=f"{observed} (share)",
        )
    bound = lower_bound_one_sided(k, n)
    detail = f"{observed} ({100 * share:.2f}%), 95% lower bound {100 * bound:.2f}%"
    if bound < minimum and share > minimum:

        def decides(size: int) -> bool:
            return lower_bound_one_sided(math.floor(share * size), size) >= minimum

        needed = samples_needed(minimum) if k == n else _first(decides, n)
        detail += f"; cannot be decided with {n} samples, needs {_shown(needed)}"
    return Check(
        name=AGREEMENT_GATE,
        passed=bound >= minimum,
        value=bound,
        observed=share,
        limit=minimum,
        n=n,
        detail=detail,
    )


def judge_drop(
    reference_correct: "NDArray[np.bool_]",
    artifact_correct: "NDArray[np.bool_]",
    max_drop_points: float,
    *,
    precision: Precision,
) -> Check:
    """Judge how many points of accuracy the artifact lost, by the 95% upper bound of the paired difference.

    The bound is exact (Clopper-Pearson) when no sample went from wrong to right, and Tango's score bound
    (Statistics in Medicine 17, 1998) otherwise. An fp32 artifact that answers every sample as rightly as the
    student passes.

    Args:
        reference_correct: bool [N], whether the student is right.
        artifact_correct: bool [N], whether the artifact is right on the same samples.
        max_drop_points: largest allowed drop in percentage points, above 0 and below 100.
        precision: of the artifact.

    Returns:
        A check whose value is the bound in points.

    Raises:
        UsageError: no samples, arrays of different lengths, or a limit out of range.
    """
    n = _count(reference_correct, DROP_GATE)
    if artifact_correct.shape != reference_correct.shape:
        raise UsageError(
            f"gate {DROP_GATE}: got {n} samples of the student and {artifact_correct.shape} of the artifact; "
            "compare them on the same samples"
        )
    _require_points(max_drop_points)
    lost = int((reference_correct & ~artifact_correct).sum())
    won = int((~reference_correct & artifact_correct).sum())
    drop = 100 * (lost - won) / n
    observed = f"{lost} samples lost, {won} won of {n} ({drop:+.2f} points lost)"
    if precision == "fp32" and lost + won == 0:
        return _drop_check(0.0, 0.0, max_drop_points, n, observed)
    bound = 100 * _upper_drop(lost, won, n)
    detail = f"{observed}, 95% upper bound {bound:.2f} points"
    if bound > max_drop_points and drop < max_drop_points:

        def decides(size: int) -> bool:
            return 100 * _upper_drop(round(lost * size / n), round(won * size / n), size) <= max_drop_points

        needed = samples_needed(1 - max_drop_points / 100) if lost + won == 0 else _first(decides, n)
        detail += f"; cannot be decided with {n} samples, needs {_shown(needed)}"
    return _drop_check(drop, bound, max_drop_points, n, detail)


def judge_map_drop(found: "MapDifference", max_drop_points: float, *, precision: Precision) -> Check:
    """Judge how many points of mAP the artifact lost, by the 95% upper bound of a paired bootstrap.

    An fp32 artifact whose mAP is the student's own passes.

    Args:
        found: what mAP gains from the student to the artifact, on the same samples.
        max_drop_points: largest allowed drop in percentage points, above 0 and below 100.
        precision: of the artifact.

    Raises:
        UsageError: a limit out of range.
    """
    _require_points(max_drop_points)
    drop, bound, n = 0.0 - 100 * found.interval.value, 100 * found.drop_bound, found.interval.n
    if precision == "fp32" and drop == 0:
        bound = 0.0
    detail = f"mAP lost {drop:+.3f} points on {n} samples, 95% upper bound {bound:.3f} points"
    if bound > max_drop_points > drop:
        detail += f"; cannot be decided with {n} samples, needs more"
    return _drop_check(drop, bound, max_drop_points, n, detail)


def _require_points(max_drop_points: float) -> None:
    if not 0 < max_drop_points < 100:
        raise UsageError(
            f"gate {DROP_GATE}: got {max_drop_points} points, expected more than 0 and less than 100"
        )


def _drop_check(drop: float, bound: float, limit: float, n: int, detail: str) -> Check:
    """The verdict on points that were lost: `drop` on n samples, at most `bound`."""
    return Check(
        name=DROP_GATE, passed=bound <= limit, value=bound, observed=drop, limit=limit, n=n, detail=detail
    )


def raise_for_gates(checks: Iterable[Check]) -> None:
    """Turn the first failed check into its error.

    Raises:
        NumericGateError: a comparison of numbers failed.
        AccuracyGateError: an agreement or an accuracy gate failed.
        UnfitEnvironmentError: the weights do not have the precision that was asked for.
    """
    for check in checks:
        if check.passed:
            continue
        kind: type[CompactorError] = AccuracyGateError if check.name in _ACCURACY_CHECKS else NumericGateError
        kind = UnfitEnvironmentError if check.name == PRECISION_CHECK else kind
        found = "" if check.value is None else f" found {check.value:.6g},"
        expected = "" if check.limit is None else f" limit {check.limit:.6g},"
        raise kind(
            f"check {check.name!r} failed:{found}{expected} {check.detail or 'no detail was recorded'}"
        )


def _upper_drop(lost: int, won: int, n: int) -> float:
    """One-sided 95% upper bound of the share lost minus the share won."""
    if won == 0:
        return 1 - lower_bound_one_sided(n - lost, n)
    low, high = (lost - won) / n, 1.0
    for _ in range(60):  # the score falls as the supposed drop grows; bisect for -1.645
        middle = (low + high) / 2
        low, high = (middle, high) if _tango_score(lost, won, n, middle) > -_Z95 else (low, middle)
    return high


def _tango_score(lost: int, won: int, n: int, drop: float) -> float:
    """Tango's score of the hypothesis that the true paired difference is `drop` (his equations 3 and 4)."""
    b = -lost - won + (2 * n - lost + won) * drop
    c = -won * drop * (1 - drop)
    won_share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * won_share + drop * (1 - drop))
    return (lost - won - n * drop) / math.sqrt(variance) if variance > 0 else -math.inf


def _first(decides: Callable[[int], bool], n: int) -> int:
    """Smallest number of samples above n that decides, to one part in a hundred; `_MANY` when it is more."""
    low, high = n, 2 * n
    while not decides(high):
        low, high = high, 2 * high
        if high > _MANY:
            return _MANY
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _shown(needed: int) -> str:
    """Render a needed number of samples."""
    return f"more than {_MANY}" if needed >= _MANY else str(needed)


def _count(values: "NDArray[np.bool_] | NDArray[np.float64]", gate: str) -> int:
    """Number of samples of an array [N]."""
    if values.ndim != 1 or values.dtype not in (bool, float) or not values.size:
        raise UsageError(
            f"gate {gate}: got {values.dtype} of shape {values.shape}, expected bool [N] with N > 0"
        )
    return int(values.size)
