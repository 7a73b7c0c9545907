"""The truth: teachers, torch student and artifacts on the same samples, and which step lost what."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.evaluation import (
    artifact_answers,
    gold_labels,
    headline,
    student_answers,
    teacher_answers,
    word_labels,
)
from compactor.models.student import parameter_count
from compactor.records import IGNORE, head_at
from compactor.release.job import ReleaseJob
from compactor.release.measurement import known_parameters, torch_name, weights_bytes
from compactor.tasks import Answers, Task
from compactor.teachers import Teachers
from compactor_runtimes.backends import open_files
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.report import (
    AccuracyRow,
    Kind,
    PairedRow,
    ScoreRow,
    SlotAnswers,
    accuracy_row,
    artifact_bytes,
    artifact_name,
    fidelity_row,
    paired_row,
    score_rows,
)
from compactor_runtimes.stats.metrics import correct
from compactor_runtimes.stats.predictions import Predictions
from compactor_runtimes.stats.softmax import softmax

STORED_TEACHERS = "teachers (label store)"


@dataclass(frozen=True)
class Subject:
    """Something that answered the samples: its logits [N, C], its size, and the step that led to it.

    `tags` are the BIO labels that it gave each word of each sample, where the task has any.
    """

    name: str
    kind: Kind
    logits: NDArray[np.floating[Any]]
    parameters: int | None
    size_bytes: int | None
    step: str = ""
    tags: list[list[str]] | None = None


def ask_everyone(job: ReleaseJob, artifacts: list[Artifact]) -> list[Subject]:
    """Read the report split: each teacher, all of them together, the student, the artifacts."""
    split, task, teachers = job.data.report, job.task, job.teachers
    rounds = len(teachers) + (len(teachers) > 1) + 2 + len(artifacts)
    subjects: list[Subject] = []
    with job.reporter.bar("truth on report", rounds * len(split)) as bar:

        def progress(done: int) -> None:
            bar.at(len(subjects) * len(split) + done)

        def add(
            name: str,
            kind: Kind,
            answers: Answers,
            parameters: int | None,
            size: int | None,
            step: str = "",
        ) -> None:
            tags = None if head_at(task.heads, "word") is None else word_labels(task, split, answers)
            logits = headline(task, split, answers)
            subjects.append(Subject(name, kind, logits, parameters, size, step, tags))

        for one in teachers:
            answers = student_answers(one.model, task.batches(split), progress=progress)
            size = weights_bytes(one.model, one.folder)
            add(torch_name([one.name]), "teacher", answers, known_parameters([one.model]), size)
        if len(teachers) > 1:
            answers = teacher_answers(Teachers(job.models), task.batches(split), progress=progress)
            size = sum(weights_bytes(one.model, one.folder) for one in teachers)
            together = torch_name([one.name for one in teachers])
            add(together, "teacher", answers, known_parameters(job.models), size)
        if not teachers and (said := job.teachers_say(split)) is not None:
            add(STORED_TEACHERS, "teacher", said, None, None)
        answers = student_answers(job.student, task.batches(split), progress=progress)
        parameters, size = parameter_count(job.student), weights_bytes(job.student, job.student_folder)
        add(torch_name(["student"]), "student", answers, parameters, size, "distillation")
        for artifact in artifacts:
            with closing(open_files(artifact, job.artifact_folder.joinpath, trust=True)) as runtime:
                answers = artifact_answers(
                    runtime, job.student.outputs, task.batches(split), progress=progress
                )
            step = f"export {artifact.name}"
            add(artifact_name(artifact), "artifact", answers, None, artifact_bytes(artifact), step)
    return subjects


def accuracy_rows(
    subjects: list[Subject],
    labels: NDArray[np.int64],
    *,
    task: Task,
    teacher: Subject | None,
    split: str,
    labelled: bool,
) -> list[AccuracyRow]:
    """Score every subject; agreement and KL are against `teacher`, all teachers together.

    Args:
        subjects: who answered.
        labels: int64 [N], the teachers' top classes where there are no labels.
        task: says whether answers are classes or embeddings.
        teacher: all teachers together, or None.
        split: name of the split, for the rows.
        labelled: whether `labels` are the data's own.
    """
    rows = []
    for subject in subjects:
        about: dict[str, Any] = {
            "parameters": subject.parameters,
            "size_bytes": subject.size_bytes,
            "split": split,
        }
        if task.head.activation == "none":
            reference = (
                teacher or subject
            ).logits  # without a teacher, a subject can only be compared with itself
            row = fidelity_row(
                subject.name, subject.kind, embeddings=subject.logits, teacher_embeddings=reference, **about
            )
        else:
            compared = None if teacher is None or subject.kind == "teacher" else teacher.logits
            row = accuracy_row(
                subject.name,
                subject.kind,
                logits=subject.logits,
                labels=labels,
                teacher_logits=compared,
                labelled=labelled,
                **about,
            )
        rows.append(row)
    return rows


def slot_rows(
    subjects: list[Subject], labels: NDArray[np.int64], *, task: Task, teacher: Subject | None, split: Split
) -> list[ScoreRow]:
    """Score what every subject said of words, and of whole samples that have all labels; none without any.

    Args:
        subjects: who answered.
        labels: int64 [N] of the headline.
        task: says which heads there are.
        teacher: all teachers together, or None; errors are compared with its.
        split: holds the labels of words.
    """
    every, is_joint = gold_labels(task, split), task.head.level != "word"
    known = [at for at, row in enumerate(every) if row and (not is_joint or labels[at] != IGNORE)]
    gold = [every[at] for at in known]
    if not gold:
        return []

    def answers(subject: Subject) -> SlotAnswers:
        assert subject.tags is not None
        right = (subject.logits.argmax(-1) == labels)[known] if is_joint else None
        return SlotAnswers(right, [subject.tags[at] for at in known])

    reference = None if teacher is None else answers(teacher)
    return [
        row
        for subject in subjects
        for row in score_rows(
            subject.name,
            subject.kind,
            answers(subject),
            gold,
            teacher=None if subject is teacher else reference,
            split=split.name,
        )
    ]


def step_rows(
    student: Subject, artifacts: list[Subject], labels: NDArray[np.int64], *, teacher: Subject | None
) -> list[PairedRow]:
    """Compare teacher with student, and student with each artifact, sample by sample (classes only)."""
    pairs = step_pairs(student, artifacts, teacher)
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


def step_pairs(
    student: Subject, artifacts: list[Subject], teacher: Subject | None
) -> list[tuple[Subject, Subject]]:
    """What each step led from and to: teacher to student, and student to each artifact."""
    pairs = [] if teacher is None else [(teacher, student)]
    return [*pairs, *((student, artifact) for artifact in artifacts)]


def predictions_of(
    subjects: list[Subject], labels: NDArray[np.int64], ids: NDArray[np.int64], digest: str
) -> Predictions:
    """Keep what every subject answered: its top class and how sure it was."""
    return Predictions(
        digest,
        ids,
        labels,
        {subject.name: subject.logits.argmax(-1).astype(np.int64) for subject in subjects},
        {subject.name: softmax(subject.logits, "float64").max(-1).astype(np.float32) for subject in subjects},
    )
