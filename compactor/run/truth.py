"""The truth table: teachers, torch student and artifacts on the same report samples, and which step lost what."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compactor_runtimes.metrics import correct
from compactor_runtimes.report import AccuracyRow, Kind, PairedRow, accuracy_row, paired_row


@dataclass(frozen=True)
class Subject:
    """Something that answered the samples: its logits [N, C], its size, and the step that led to it."""

    name: str
    kind: Kind
    logits: NDArray[np.float32]
    parameters: int | None
    size_bytes: int | None
    step: str = ""


def accuracy_rows(
    subjects: list[Subject], labels: NDArray[np.int64], *, teacher: Subject | None, split: str
) -> list[AccuracyRow]:
    """Score every subject; agreement and KL are against `teacher`, all teachers together."""
    return [
        accuracy_row(
            subject.name,
            subject.kind,
            logits=subject.logits,
            labels=labels,
            teacher_logits=None if teacher is None or subject.kind == "teacher" else teacher.logits,
            parameters=subject.parameters,
            size_bytes=subject.size_bytes,
            split=split,
        )
        for subject in subjects
    ]


def step_rows(
    student: Subject, artifacts: list[Subject], labels: NDArray[np.int64], *, teacher: Subject | None
) -> list[PairedRow]:
    """Compare teacher with student, and student with each artifact, sample by sample."""
    pairs = [] if teacher is None else [(teacher, student)]
    pairs += [(student, artifact) for artifact in artifacts]
    return [
        paired_row(
            before.name,
            after.name,
            step=after.step,
            correct_a=correct(before.logits, labels),
            correct_b=correct(after.logits, labels),
        )
        for before, after in pairs
    ]
