"""The few numbers at the top of a report: what the shipped subject scores, costs and saves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.recommend import Facts, facts
from compactor_runtimes.report.draw.text_tables import INVALID, VERDICT_STYLES, Style
from compactor_runtimes.report.format import (
    OVERRIDDEN,
    VERDICT_WORDS,
    agreement_words,
    change,
    change_interval,
    interval,
    share,
    times,
    unit,
)
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report


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
            found.append(Tile(step.step, "0 points", ["no answer turned right or wrong", f"n {step.n:,}"]))
            continue
        notes = [f"95% {change_interval(step)}", VERDICT_WORDS[step.verdict]]
        found.append(Tile(step.step, change(step), notes, VERDICT_STYLES[step.verdict]))
    if row is not None and not known.steps and row.agreement_with_teacher is not None:
        words = f"{agreement_words([row])} with teacher"
        found.append(Tile(words, f"{share(row.agreement_with_teacher, row)}{unit(row)}", [f"n {row.n:,}"]))
    if known.latency is not None:
        found.append(_latency(known))
    elif report.shipped:
        found.append(Tile("median latency", "not measured", [], "warn"))
    if row is not None and row.size_bytes:
        ratio = known.size_ratio
        notes = [] if ratio is None else [f"{times(ratio)}× smaller than the teacher"]
        found.append(Tile("size", scaled(row.size_bytes, "B"), notes))
    found.append(_checks(known))
    return found


def _latency(known: Facts) -> Tile:
    assert known.latency is not None
    notes = [f"compute, one sample, n {known.latency.n:,}"]
    if known.speed_up is not None:
        notes.insert(0, f"{times(known.speed_up)}× as fast as the teacher")
    both = [one for one in (known.latency, known.teacher_latency) if one is not None]
    invalid = [one.subject for one in both if not one.valid]
    notes += [f"{INVALID}: {', '.join(invalid)}"] if invalid else []
    return Tile("median latency", format_ns(known.latency.median_ns), notes, "warn" if invalid else "")


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
