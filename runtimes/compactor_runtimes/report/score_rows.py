"""Compute the rows of what subjects score on intents and slots from their answers."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compactor_runtimes.report.contents import Kind, ScoreRow
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
