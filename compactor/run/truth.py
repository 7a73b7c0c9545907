"""The truth: teachers, torch student and artifacts on the same samples, and which step lost what."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compactor.evaluation import artifact_logits, student_logits, teacher_logits
from compactor.models.classifier import parameter_count
from compactor.run.cost import artifact_bytes, artifact_name, torch_name, weights_bytes
from compactor.teachers import Teachers
from compactor_runtimes.manifest import Artifact
from compactor_runtimes.metrics import correct
from compactor_runtimes.report import AccuracyRow, Kind, PairedRow, accuracy_row, paired_row
from compactor_runtimes.runtime import OPENERS, open_runtime

if TYPE_CHECKING:
    from compactor.run.finish import Finish


@dataclass(frozen=True)
class Subject:
    """Something that answered the samples: its logits [N, C], its size, and the step that led to it."""

    name: str
    kind: Kind
    logits: NDArray[np.float32]
    parameters: int | None
    size_bytes: int | None
    step: str = ""


def ask_everyone(run: "Finish", artifacts: list[Artifact], teachers: list[str]) -> list[Subject]:
    """Read the report split: each teacher, all of them together, the student, the artifacts."""
    split = run.data.report
    rounds = len(teachers) + (len(teachers) > 1) + 1 + len(artifacts)
    subjects: list[Subject] = []
    with run.reporter.bar("truth on report", rounds * len(split)) as bar:

        def progress(done: int, _: int) -> None:
            bar.at(len(subjects) * len(split) + done)

        for name, model, folder in zip(teachers, run.teachers, run.teacher_folders, strict=True):
            logits = student_logits(model, split, progress=progress)
            size = weights_bytes(folder)
            subjects.append(Subject(torch_name([name]), "teacher", logits, parameter_count(model), size))
        if len(teachers) > 1:
            logits = teacher_logits(Teachers(run.teachers), split, progress=progress)
            parameters = sum(subject.parameters or 0 for subject in subjects)
            size = sum(subject.size_bytes or 0 for subject in subjects)
            subjects.append(Subject(torch_name(teachers), "teacher", logits, parameters, size))
        logits = student_logits(run.student, split, progress=progress)
        parameters, size = parameter_count(run.student), weights_bytes(run.student_folder)
        subjects.append(Subject(torch_name(["student"]), "student", logits, parameters, size, "distillation"))
        for artifact in artifacts:
            runtime = open_runtime(
                OPENERS[artifact.spec.format], run.run / "artifacts" / artifact.files[0].path
            )
            logits = artifact_logits(runtime, run.student, split, progress=progress)
            runtime.close()
            size, step = artifact_bytes(artifact), f"export {artifact.name}"
            subjects.append(Subject(artifact_name(artifact), "artifact", logits, None, size, step))
    return subjects


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
