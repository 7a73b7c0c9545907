"""The truth where any number of labels may be true: scores of everyone, of labels, of steps."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.release.scores import Subject, step_pairs
from compactor.release.thresholds import Thresholds
from compactor_runtimes.report import (
    LabelAnswers,
    Report,
    label_rows,
    labels_accuracy_row,
    labels_paired_row,
)


def labels_report(
    report: Report,
    everyone: list[Subject],
    labels: NDArray[np.int64],
    names: list[str],
    *,
    thresholds: Thresholds,
    teacher: Subject | None,
    split: str,
    labelled: bool,
) -> Report:
    """Score every subject; agreement and KL are against `teacher`, all teachers together.

    Args:
        report: what is known so far; its `shipped` names the recommended subject.
        everyone: who answered.
        labels: int64 [N, C], the teachers' answers where there are no labels.
        names: of the labels [C].
        thresholds: the student's for itself and all artifacts, the teachers' for each of them.
        teacher: all teachers together, or None.
        split: name of the split, for the rows.
        labelled: whether `labels` are the data's own.
    """
    answers = {
        one.name: LabelAnswers(
            one.logits, thresholds.teacher if one.kind == "teacher" else thresholds.student
        )
        for one in everyone
    }
    student = next(one for one in everyone if one.kind == "student")
    artifacts = [one for one in everyone if one.kind == "artifact"]
    shown = [*([teacher.name] if teacher else []), student.name, report.shipped]
    return msgspec.structs.replace(
        report,
        labelled=labelled,
        accuracy=[
            labels_accuracy_row(
                one.name,
                one.kind,
                answers[one.name],
                labels,
                teacher=None if teacher is None or one.kind == "teacher" else answers[teacher.name],
                parameters=one.parameters,
                size_bytes=one.size_bytes,
                split=split,
                labelled=labelled,
            )
            for one in everyone
        ],
        paired=[
            labels_paired_row(
                before.name,
                after.name,
                step=after.step,
                a_logits=before.logits,
                b_logits=after.logits,
                labels=labels,
            )
            for before, after in step_pairs(student, artifacts, teacher)
        ],
        labels=label_rows({name: answers[name] for name in dict.fromkeys(shown)}, labels, names),
    )
