"""What subjects score on intents and slots: the rows, computed from their answers, and how they are told."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compactor_runtimes.report.contents import Kind, ScoreRow
from compactor_runtimes.report.draw.text_tables import Cell, Style, Table, number_cell, subject_cell
from compactor_runtimes.report.format import overridden_notes, unique
from compactor_runtimes.stats.metrics import Interval, wilson
from compactor_runtimes.stats.sequences import (
    Labels,
    exact_match,
    f1_interval,
    relative_error_interval,
    relative_f1_error_interval,
    span_counts,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.report.contents import Report

Metric = Literal["intent accuracy", "slot F1", "exact match"]
INTENT: Metric = "intent accuracy"
SLOTS: Metric = "slot F1"
EXACT: Metric = "exact match"
METRICS = (INTENT, SLOTS, EXACT)


@dataclass(frozen=True)
class SlotAnswers:
    """What a subject said of N texts: which intents are right (None: none is asked), and words' labels."""

    intent_right: "NDArray[np.bool_] | None"
    labels: Labels


def score_rows(
    subject: str, kind: Kind, answers: SlotAnswers, gold: Labels, *, teacher: SlotAnswers | None, split: str
) -> list[ScoreRow]:
    """Score one subject, and its errors against the teacher's (all teachers together).

    Args:
        subject: its name.
        kind: what it is.
        answers: what it said.
        gold: BIO labels of each text's words.
        teacher: what the teacher said of the same texts; None for the teacher itself or without one.
        split: name of the split.

    Returns:
        A row a metric; without intents slot F1 alone.
    """
    rows = []
    for metric in METRICS if answers.intent_right is not None else (SLOTS,):
        if metric == SLOTS:
            found, change = _spans(answers, gold, teacher)
        else:
            found, change = _shares(metric, answers, gold, teacher)
        rows.append(
            ScoreRow(
                subject=subject,
                kind=kind,
                metric=metric,
                value=found.value,
                low=found.low,
                high=found.high,
                n=found.n,
                split=split,
                relative_error_change=None if change is None else change.value,
                relative_low=None if change is None else change.low,
                relative_high=change.high if change is not None and math.isfinite(change.high) else None,
            )
        )
    return rows


def score_table(report: "Report") -> Table:
    """A row a subject; errors of intent and slots against the teacher's beside the values."""
    metrics = [one for one in METRICS if any(row.metric == one for row in report.scores)]
    table = Table(["subject"], [])
    for metric in metrics:
        table.headings.append(f"{metric} [95%]")
        if metric != EXACT:
            table.headings.append("error change")
    for subject in dict.fromkeys(row.subject for row in report.scores):
        found = {row.metric: row for row in report.scores if row.subject == subject}
        cells = [subject_cell(subject, report, next(iter(found.values())).kind)]
        for metric in metrics:
            row = found[metric]
            note = f"[{100 * row.low:.1f}, {100 * row.high:.1f}]"
            cells.append(Cell(f"{100 * row.value:.2f}%", note, "strong", row.value))
            if metric != EXACT:
                cells.append(_change_cell(row))
        table.rows.append(cells)
    told = {
        INTENT: "",
        SLOTS: " Slot F1: whole spans with their name, micro.",
        EXACT: " Exact match: the intent and the label of every word are right.",
    }
    splits = unique(row.split for row in report.scores)
    counts = unique(f"{row.n:,}" for row in report.scores)
    table.notes.append(
        f"Samples: {splits}, n {counts}."
        + "".join(told[metric] for metric in metrics)
        + " Error change: (error - teacher's error) / teacher's error, negative is better; grey is inside "
        "the noise."
    )
    table.notes.extend(overridden_notes(report))
    return table


def slot_loss(report: "Report") -> list[str]:
    """Say how many more slot errors the shipped subject makes than the teacher, where that is no noise."""
    for row in report.scores:
        if (row.subject, row.metric) != (report.shipped, SLOTS) or (row.relative_low or 0) <= 0:
            continue
        shown = f"{100 * row.value:.2f}% [{100 * row.low:.2f}, {100 * row.high:.2f}]"
        change = _change_cell(row)
        return [
            f"Its slot F1 is {shown} on {row.n:,} samples; against the teacher the error (1 - F1) changes by "
            f"{change.text} {change.note}, a real loss."
        ]
    return []


def _spans(
    answers: SlotAnswers, gold: Labels, teacher: SlotAnswers | None
) -> tuple[Interval, Interval | None]:
    counts = span_counts(answers.labels, gold)
    change = (
        None if teacher is None else relative_f1_error_interval(counts, span_counts(teacher.labels, gold))
    )
    return f1_interval(counts), change


def _shares(
    metric: Metric, answers: SlotAnswers, gold: Labels, teacher: SlotAnswers | None
) -> tuple[Interval, Interval | None]:
    right = _right(metric, answers, gold)
    low, high = wilson(int(right.sum()), len(right))
    value = Interval(value=float(right.mean()), low=low, high=high, n=len(right))
    return value, None if teacher is None else relative_error_interval(right, _right(metric, teacher, gold))


def _right(metric: Metric, answers: SlotAnswers, gold: Labels) -> "NDArray[np.bool_]":
    assert answers.intent_right is not None
    return (
        answers.intent_right if metric == INTENT else exact_match(answers.intent_right, answers.labels, gold)
    )


def _change_cell(row: ScoreRow) -> Cell:
    """A relative error change with its interval, which says whether it is noise."""
    change, low, high = row.relative_error_change, row.relative_low, row.relative_high
    if change is None or low is None:
        return number_cell(change, "" if change is None else f"{_percent(change, 1)}%")
    style: Style = "bad" if low > 0 else "good" if high is not None and high < 0 else "dim"
    note = f"[{_percent(low)}, {'∞' if high is None else _percent(high)}]"
    return Cell(f"{_percent(change, 1)}%", note, style, change)


def _percent(share: float, digits: int = 0) -> str:
    """A share in percent with its sign, and none where it is 0 after rounding."""
    shown = f"{100 * share:+.{digits}f}"
    return shown if float(shown) else shown[1:]
