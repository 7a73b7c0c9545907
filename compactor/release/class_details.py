"""What a report tells of single classes: how each is answered, confusions, and mistakes worth a look."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compactor.data.splits import Split
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.report import ClassRow, Confusion, Example
from compactor_runtimes.stats import classes as class_metrics
from compactor_runtimes.stats.softmax import softmax

LARGEST_THUMBNAIL = 128  # pixels a side
LONGEST_TEXT = 1_000  # letters


def class_rows(
    labels: NDArray[np.int64], top1: Mapping[str, NDArray[np.int64]], names: list[str]
) -> list[ClassRow]:
    """Recall and F1 of each class that has samples, in the order of `names`.

    Args:
        labels: [N], -100 ignored.
        top1: answered class indices [N] of each subject.
        names: class names [C].
    """
    counts = {
        subject: class_metrics.confusion_counts(labels, answers, len(names))
        for subject, answers in top1.items()
    }
    recall = {subject: class_metrics.recall(matrix) for subject, matrix in counts.items()}
    f1 = {subject: class_metrics.f1(matrix) for subject, matrix in counts.items()}
    samples = np.bincount(labels[labels != class_metrics.IGNORE], minlength=len(names))
    return [
        ClassRow(
            label=name,
            n=int(samples[number]),
            recall={subject: float(values[number]) for subject, values in recall.items()},
            f1={subject: float(values[number]) for subject, values in f1.items()},
        )
        for number, name in enumerate(names)
        if samples[number]
    ]


def confusion(
    subject: str, labels: NDArray[np.int64], top1: NDArray[np.int64], names: list[str]
) -> Confusion:
    """Count which class `subject` answers for which; labels and answers [N], -100 ignored."""
    counts = class_metrics.confusion_counts(labels, top1, len(names))
    return Confusion(subject=subject, labels=names, counts=counts.tolist())


def examples(
    split: Split,
    labels: NDArray[np.int64],
    teacher_logits: ArrayLike,
    student_logits: ArrayLike,
    names: list[str],
    most: int = 24,
) -> list[Example]:
    """Show what the student gets wrong and the teacher right, the student's most confident mistakes first.

    Args:
        split: where the samples lie; its rows are in the order of the arrays.
        labels: [N], -100 ignored.
        teacher_logits: [N, C].
        student_logits: [N, C].
        names: class names [C].
        most: number of examples.
    """
    teacher, student = (softmax(one, "float64") for one in (teacher_logits, student_logits))
    taught, found = teacher.argmax(-1), student.argmax(-1)
    wrong = np.flatnonzero((labels != class_metrics.IGNORE) & (found != labels) & (taught == labels))
    order = wrong[np.argsort(-student[wrong, found[wrong]], kind="stable")][:most]
    return [
        Example(
            id=int(split.rows[at]),
            truth=names[labels[at]],
            student=names[found[at]],
            student_confidence=float(student[at, found[at]]),
            teacher=names[taught[at]],
            teacher_confidence=float(teacher[at, taught[at]]),
            **_shown(split.inputs[split.rows[at]]),
        )
        for at in order
    ]


def _shown(raw: Any) -> dict[str, str]:
    """An image as a thumbnail, a text as it is, cut where it is very long."""
    if isinstance(raw, str):
        return {"text": raw if len(raw) <= LONGEST_TEXT else f"{raw[:LONGEST_TEXT]}…"}
    return {"image": _thumbnail(np.asarray(raw))}


def _thumbnail(pixels: NDArray[np.uint8]) -> str:
    """Encode a uint8 image [H, W, C] as the data URI of a PNG, made smaller but never larger."""
    with needs_extra("train"):
        from PIL import Image
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LARGEST_THUMBNAIL, LARGEST_THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
