"""The table of variants: every exported artifact with its verdicts, its price, and why it was taken."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.contents import Decision, Variant
from compactor_runtimes.report.decide.policy import SAME_SIZE
from compactor_runtimes.report.decide.speed import compute_latency
from compactor_runtimes.report.draw.text_tables import INVALID, Cell, Style, Table, number_cell
from compactor_runtimes.report.format import (
    NO_VALUE,
    OVERRIDDEN,
    artifact_bytes,
    artifact_name,
    subjects_by_runtime,
    times,
    unique,
)
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.bundle.manifest import Artifact, Check
    from compactor_runtimes.report.contents import Report

AGREEMENT, DROP = "min-agreement", "max-drop"  # what the exporters call these two gates
STATUS_STYLES: dict[str, Style] = {"verified": "good", "rejected": "bad", "overridden": "bad"}
DECISION_STYLES: dict[Decision, Style] = {
    "chosen": "good",
    "not chosen": "dim",
    "rejected": "bad",
    "not run": "warn",
}
SPEED_STYLES: dict[str | None, Style] = {"better": "good", "worse": "bad", "noise": "dim"}


def variants_table(report: "Report") -> Table:
    """One row for each artifact; why it was taken or not is in `variant_words`."""
    plain = unique(one.against for one in report.choice if one.against) or "the simplest"
    headings = [
        "artifact",
        "status",
        "size",
        "compute",
        f"times as fast as {plain}",
        "agreement with student",
        "points lost",
        "largest difference",
        "verdict",
    ]
    table = Table(headings, [], frozenset({0, 1, 8}))
    for artifact in report.artifacts:
        variant = variant_of(artifact, report)
        kept = variant.subject == report.shipped
        table.rows.append(
            [
                Cell(artifact.name, "shipped" if kept else "", "strong" if kept else ""),
                _status(artifact),
                _size(artifact, variant),
                _latency(report, variant),
                _speed(variant),
                _agreement(artifact),
                _lost(artifact),
                _difference(artifact),
                Cell(variant.decision, style=DECISION_STYLES[variant.decision]),
            ]
        )
    table.notes.append(
        "Agreement, points lost and differences: against the torch student, on select samples; ≥ and ≤ are "
        "one-sided 95% bounds, which the gates judge. Compute: median of one sample. Times as fast: in "
        f"brackets by the extreme block medians; grey is inside the noise{times_in(report)}."
    )
    return table


def times_in(report: "Report") -> str:
    """Which runtimes the compute times come from, to follow a note on them; nothing where there are none."""
    subjects = (artifact_name(artifact) for artifact in report.artifacts)
    measured = [one for subject in subjects if (one := compute_latency(report.measurements, subject))]
    return f"; times: {subjects_by_runtime(measured)}" if measured else ""


def variant_of(artifact: "Artifact", report: "Report") -> Variant:
    """What was decided of an artifact; reports before version 2 kept the artifact's status alone."""
    subject = artifact_name(artifact)
    for one in report.choice:
        if one.artifact == artifact.name:
            return one
    states: dict[str, Decision] = {"rejected": "rejected", "not-run": "not run"}
    decision = states.get(artifact.status, "chosen" if subject == report.shipped else "not chosen")
    reason = artifact.reason if artifact.status in states else "" if report.shipped else "nothing ships"
    return Variant(artifact=artifact.name, subject=subject, decision=decision, reason=reason)


def variant_words(report: "Report") -> list[tuple[str, Decision, str]]:
    """Name, decision and reason of each artifact; an overridden one says first what was overridden."""
    words = []
    for artifact in report.artifacts:
        variant = variant_of(artifact, report)
        first = f"{OVERRIDDEN}: {artifact.reason}" if artifact.status == "overridden" else ""
        reason = "; ".join(part for part in (first, variant.reason) if part)
        words.append((artifact.name, variant.decision, reason))
    return words


def _status(artifact: "Artifact") -> Cell:
    passed = sum(check.passed for check in artifact.checks)
    note = f"{passed} of {len(artifact.checks)} checks" if artifact.checks else "no check made"
    status = OVERRIDDEN if artifact.status == "overridden" else artifact.status.replace("-", " ")
    return Cell(status, note, STATUS_STYLES.get(artifact.status, "warn"))


def _size(artifact: "Artifact", variant: Variant) -> Cell:
    size, ratio = artifact_bytes(artifact), variant.smaller
    note = ""
    if ratio is not None and abs(ratio - 1) >= SAME_SIZE:
        note = f"{times(ratio)}× smaller" if ratio > 1 else f"{times(1 / ratio)}× larger"
    return number_cell(size or None, scaled(size, "B"), note)


def _latency(report: "Report", variant: Variant) -> Cell:
    one = compute_latency(report.measurements, variant.subject)
    if one is None:
        return Cell(NO_VALUE, style="dim")
    text = format_ns(one.median_ns)
    if not one.valid:
        return Cell(f"{text} *", f"n {one.n:,}, {INVALID}", "warn", one.median_ns)
    return Cell(text, f"n {one.n:,}", order=one.median_ns)


def _speed(variant: Variant) -> Cell:
    if variant.speed is None or variant.speed_low is None or variant.speed_high is None:
        return Cell(NO_VALUE, style="dim")
    note = f"[{times(variant.speed_low)}, {times(variant.speed_high)}]"
    return Cell(times(variant.speed), note, SPEED_STYLES.get(variant.speed_verdict, ""), variant.speed)


def _agreement(artifact: "Artifact") -> Cell:
    """What was observed where that was kept, the bound that was judged below it."""
    check = _check(artifact, AGREEMENT)
    if check is None or check.value is None:
        return Cell(NO_VALUE, style="dim")
    bound = "" if artifact.spec.precision == "fp32" else f"≥ {100 * check.value:.2f}%"
    if check.observed is None:
        return _judged(check, bound or f"{100 * check.value:.2f}%", "")
    return _judged(check, f"{100 * check.observed:.2f}%", bound)


def _lost(artifact: "Artifact") -> Cell:
    check = _check(artifact, DROP)
    if check is None or check.value is None:
        return Cell(NO_VALUE, style="dim")
    bound = f"≤ {check.value:.2f}"
    if check.observed is None:
        return _judged(check, bound, "")
    return _judged(check, f"{check.observed:.2f}", bound if check.value != check.observed else "")


def _judged(check: "Check", text: str, bound: str) -> Cell:
    count = "" if check.n is None else f"n {check.n:,}"
    note = ", ".join(part for part in (bound, count) if part)
    return Cell(text, note, "" if check.passed else "bad", check.value)


def _difference(artifact: "Artifact") -> Cell:
    if not artifact.errors:
        return Cell(NO_VALUE, style="dim")
    worst = max(artifact.errors.values(), key=lambda one: one.maximum)
    return Cell(f"{worst.maximum:.2g}", f"n {worst.n:,}", order=worst.maximum)


def _check(artifact: "Artifact", name: str) -> "Check | None":
    return next((check for check in artifact.checks if check.name == name), None)
