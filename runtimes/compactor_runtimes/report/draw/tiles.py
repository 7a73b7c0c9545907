"""The few numbers at the top of a report: what the shipped subject scores, costs and saves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.recommend import Facts, facts
from compactor_runtimes.report.decide.speed import TwoTimes
from compactor_runtimes.report.draw.text_tables import INVALID, VERDICT_STYLES, Style
from compactor_runtimes.report.format import (
    OVERRIDDEN,
    VERDICT_WORDS,
    agreement_words,
    change,
    change_interval,
    interval,
    runtime_name,
    share,
    times,
    unit,
)
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import PairedRow, Report


@dataclass(frozen=True)
class Tile:
    """One number with its name, what stands behind it, and how it looks."""

    name: str
    value: str
    notes: list[str]
    style: Style = ""


def tiles(report: "Report") -> list[Tile]:
    """Score, change against the teacher, latency, size and checks, as far as they are known."""
    known = facts(report)
    found = []
    row = known.shipped
    if row is not None:
        score = f"{share(row.value, row)}{unit(row)}"
        found.append(Tile(row.metric, score, [f"95% {interval(row)}", f"n {row.n:,}"]))
    for step in known.steps:
        if step.difference_points == step.low == step.high == 0:
            found.append(Tile(step.step, "0 points", [_unchanged(step), f"n {step.n:,}"]))
            continue
        notes = [f"95% {change_interval(step)}", VERDICT_WORDS[step.verdict]]
        found.append(Tile(step.step, change(step), notes, VERDICT_STYLES[step.verdict]))
    if row is not None and not known.steps and row.agreement_with_teacher is not None:
        words = f"{agreement_words([row])} with teacher"
        found.append(Tile(words, f"{share(row.agreement_with_teacher, row)}{unit(row)}", [f"n {row.n:,}"]))
    if known.speed.headline is not None:
        found.append(_speed(known.speed.headline, report.shipped))
    if known.latency is not None:
        found.append(_latency(known.latency, known.speed.change_of_runtime))
    elif report.shipped:
        found.append(Tile("median latency", "not measured", [], "warn"))
    if row is not None and row.size_bytes:
        ratio = known.size_ratio
        notes = [] if ratio is None else [f"{times(ratio)}× smaller than the teacher"]
        found.append(Tile("size", scaled(row.size_bytes, "B"), notes))
    found.append(_checks(known))
    return found


def _unchanged(step: "PairedRow") -> str:
    """What no change at all means."""
    return "no answer turned right or wrong" if step.mcnemar_p is not None else "the same order of samples"


def _speed(pair: TwoTimes, shipped: str) -> Tile:
    """The headline: against the teacher in one runtime."""
    if not pair.valid:
        return Tile(f"speed in {runtime_name(pair.own)}", "not known", _invalid(pair.own, pair.other), "warn")
    ratio = pair.ratio
    notes = [
        f"{'' if pair.own.subject == shipped else 'student '}against teacher",
        f"{format_ns(pair.own.median_ns)} against {format_ns(pair.other.median_ns)}",
        f"[{times(1 / ratio.high)}, {times(1 / ratio.low)}]",
        *([VERDICT_WORDS["noise"]] if ratio.verdict == "noise" else []),
    ]
    style = VERDICT_STYLES[ratio.verdict]
    return Tile(f"speed in {runtime_name(pair.own)}", f"{times(1 / ratio.value)}× as fast", notes, style)


def _latency(one: "Measurement", change: TwoTimes | None) -> Tile:
    """The shipped subject's own time, and how much of it is owed to another runtime than the student's."""
    notes = [f"compute, one sample, n {one.n:,}", f"in {runtime_name(one)}"]
    if change is not None and change.valid:
        noise = f", {VERDICT_WORDS['noise']}" if change.ratio.verdict == "noise" else ""
        value = times(1 / change.ratio.value)
        notes.append(f"{value}× as fast as the student in {runtime_name(change.other)}{noise}")
    invalid = _invalid(one)
    return Tile("median latency", format_ns(one.median_ns), notes + invalid, "warn" if invalid else "")


def _invalid(*measured: "Measurement") -> list[str]:
    subjects = [one.subject for one in measured if not one.valid]
    return [f"{INVALID}: {', '.join(subjects)}"] if subjects else []


def _checks(known: Facts) -> Tile:
    """All gates and checks; none made is never a pass."""
    passed = sum(check.passed for check in known.checks)
    if not known.checks:
        return Tile("gates and checks", "none judged", ["nothing is proven by gates"], "warn")
    style: Style = "good" if passed == len(known.checks) else "bad"
    failed = [check.name for check in known.checks if not check.passed]
    notes = [f"FAILED: {', '.join(failed)}"] if failed else ["all passed"]
    if known.artifact is not None and known.artifact.status == "overridden":
        notes.append(OVERRIDDEN)
    return Tile("gates and checks", f"{passed} of {len(known.checks)}", notes, style)
