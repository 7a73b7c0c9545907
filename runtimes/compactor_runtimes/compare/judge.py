"""Judge gates by the interval of a change, never by its middle; what cannot be decided has not passed."""

from collections.abc import Sequence

from compactor_runtimes.compare.changes import LONGER, Change, Evidence, Undecidable, changes_of
from compactor_runtimes.compare.comparison import Difference, Pair
from compactor_runtimes.compare.gates import ACCURACY, COUNTED, Gate, GateResult, Outcome
from compactor_runtimes.errors import AccuracyGateError, CompactorError, PerformanceGateError

_WORST: dict[Outcome, int] = {"failed": 0, "undecided": 1, "passed": 2}


def judge(gates: Sequence[Gate], pair: Pair, a: Evidence, b: Evidence) -> list[GateResult]:
    """Judge every gate for b against a.

    Args:
        gates: what to judge.
        pair: holds the differences of accuracy and agreement.
        a: what was measured of the baseline.
        b: the same of the other one.
    """
    return [_judge(gate, pair, a, b) for gate in gates]


def _judge(gate: Gate, pair: Pair, a: Evidence, b: Evidence) -> GateResult:
    try:
        for side in (a, b):
            if side.missing:
                raise Undecidable(side.missing)
            if side.apart and gate.figure not in COUNTED:
                raise Undecidable(side.apart)
        found = [_points(gate, pair)] if gate.figure in ACCURACY else changes_of(gate, a, b)
    except Undecidable as reason:
        return GateResult(
            gate=gate, a=pair.a, b=pair.b, subjects=pair.subjects, outcome="undecided", reason=str(reason)
        )
    results = [_decided(gate, pair, change) for change in found]
    return min(results, key=lambda result: _WORST[result.outcome])


def _decided(gate: Gate, pair: Pair, change: Change) -> GateResult:
    value, low, high = change.share if gate.relative else change.absolute
    outcome = gate.outcome(low, high)
    remedy = "more report samples would decide" if gate.figure in ACCURACY else LONGER
    return GateResult(
        gate=gate,
        a=pair.a,
        b=pair.b,
        subjects=pair.subjects,
        outcome=outcome,
        value=value,
        low=low,
        high=high,
        confidence=change.confidence,
        how=change.how,
        reason=f"the limit is inside the interval: {remedy}" if outcome == "undecided" else "",
    )


def _points(gate: Gate, pair: Pair) -> Change:
    """The change of accuracy or agreement in points."""
    difference = pair.difference if gate.figure == "accuracy" else pair.teacher_agreement
    if difference is None:
        raise Undecidable(_unknown(gate))
    return Change(
        share=(0.0, 0.0, 0.0),  # no gate of points is relative
        absolute=(difference.points, difference.low, difference.high),
        confidence=0.95,
        how=_how(difference),
    )


def _unknown(gate: Gate) -> str:
    if gate.figure == "accuracy":
        return "there is no accuracy of both on the same labelled samples: gate agreement, or add labels"
    return "there are no answers of both and of their teachers on the same samples: compare run folders"


def _how(difference: Difference) -> str:
    return f"{'paired' if difference.paired else 'not paired'}, n {difference.n:,}"


def failures(results: Sequence[GateResult], *, allow_undecided: bool) -> list[GateResult]:
    """The gates that have not passed; an undecided one has not either, unless that is allowed."""
    bad = ("failed",) if allow_undecided else ("failed", "undecided")
    return [result for result in results if result.outcome in bad]


def gate_error(results: Sequence[GateResult], *, allow_undecided: bool) -> CompactorError | None:
    """What to raise: of accuracy if one of accuracy or agreement has not passed, else of performance."""
    bad = failures(results, allow_undecided=allow_undecided)
    if not bad:
        return None
    about_accuracy = any(result.gate.figure in ACCURACY for result in bad)
    kind = AccuracyGateError if about_accuracy else PerformanceGateError
    shown = "; ".join(result.sentence for result in bad)
    return kind(f"{len(bad)} of {len(results)} gates not passed: {shown}")
