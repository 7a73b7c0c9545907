"""Rows and table of what subjects score on intents and slots."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compactor_runtimes.metrics import wilson
from compactor_runtimes.report.format import unique
from compactor_runtimes.report.records import Kind, ScoreRow
from compactor_runtimes.report.tables import Cell, Table, number_cell, subject_cell
from compactor_runtimes.sequence_metrics import (
    Labels,
    exact_match,
    f1_interval,
    relative_error_change,
    span_counts,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.report.records import Report


@dataclass(frozen=True)
class SlotAnswers:
    """What a subject said of N texts: which intents are right (None: none is asked), and words' labels."""

    intent_right: "NDArray[np.bool_] | None"
    labels: Labels


def score_rows(
    subject: str, kind: Kind, answers: SlotAnswers, gold: Labels, *, teacher: SlotAnswers | None, split: str
) -> list[ScoreRow]:
    """Score one subject, and its errors against the teacher's."""
    rows: list[ScoreRow] = []
    reference = (
        {}
        if teacher is None
        else {
            row.metric: row.value
            for row in score_rows("", "teacher", teacher, gold, teacher=None, split=split)
        }
    )

    def add(metric: Any, value: float, low: float, high: float) -> None:
        changed = None
        if metric in reference:
            changed = relative_error_change(1 - value, 1 - reference[metric])
        rows.append(
            ScoreRow(
                subject=subject,
                kind=kind,
                metric=metric,
                value=value,
                low=low,
                high=high,
                n=len(gold),
                split=split,
                relative_error_change=changed,
            )
        )

    f1 = f1_interval(span_counts(answers.labels, gold))
    if answers.intent_right is not None:
        for metric, right in (
            ("intent accuracy", answers.intent_right),
            ("exact match", exact_match(answers.intent_right, answers.labels, gold)),
        ):
            add(metric, float(right.mean()), *wilson(int(right.sum()), len(right)))
    add("slot F1", f1.value, f1.low, f1.high)
    return rows


def score_table(report: "Report") -> Table:
    """A row a subject; errors against the teacher's beside the values."""
    metrics = [
        one
        for one in ("intent accuracy", "slot F1", "exact match")
        if any(row.metric == one for row in report.scores)
    ]
    table = Table(
        ["subject", *(heading for one in metrics for heading in (f"{one} [95%]", "error change"))], []
    )
    for subject in dict.fromkeys(row.subject for row in report.scores):
        found = {str(row.metric): row for row in report.scores if row.subject == subject}
        cells = [subject_cell(subject, report, next(iter(found.values())).kind)]
        for metric in metrics:
            row = found[metric]
            shown = f"[{100 * row.low:.2f}, {100 * row.high:.2f}]"
            cells.append(Cell(f"{100 * row.value:.2f}%", shown, "strong", row.value))
            change = row.relative_error_change
            cells.append(number_cell(change, f"{100 * (change or 0):+.1f}%"))
        table.rows.append(cells)
    splits = unique(row.split for row in report.scores)
    table.notes.append(
        f"Samples: {splits}, n {report.scores[0].n:,}. Slot F1: whole spans, micro. Exact match: intent and "
        "all labels right. Error change: against the teacher's error, negative is better."
    )
    return table
