"""Export the student, verify every artifact and put it through the gates, on select samples alone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.evaluation import artifact_answers, same_answers, truth_labels
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe import GatesSpec, VsStudentGate
from compactor.records import Batch
from compactor.tasks import Answers, Task, task_named
from compactor_exporters import ExportSource, can_export, export_artifact
from compactor_exporters.bundle_writer import check_fit_to_ship
from compactor_exporters.gates import judge_agreement, judge_drop
from compactor_exporters.verify import verify_artifact
from compactor_runtimes.errors import AccuracyGateError
from compactor_runtimes.manifest import Artifact, Check, ExportSpec
from compactor_runtimes.metrics import correct
from compactor_runtimes.runtime import OPENERS, open_runtime


@dataclass(frozen=True)
class Shipment:
    """What was exported, with verdicts, and what the gates said."""

    source: ExportSource
    artifacts: list[Artifact]
    gates: list[Check]


def export_source(student: Student, name: str, task: str) -> ExportSource:
    """Describe a trained student to the exporters."""
    return ExportSource(
        name=name,
        task=task,
        module=student.deploy(),
        example=student.example(),
        inputs=student.inputs,
        outputs=student.outputs,
        pre=task_named(task).pre(student.info),
        post=task_named(task).post(student.info),
        labels=student.info.classes,
        student_weights=dict([*student.named_parameters(), *student.named_buffers()]),
        assets=task_named(task).assets(student.info),
    )


def export_and_judge(
    source: ExportSource,
    specs: list[ExportSpec],
    gates: GatesSpec,
    folder: Path,
    *,
    student: Answers,
    teacher: Answers | None,
    select: Split,
    reporter: Reporter,
) -> Shipment:
    """Export and verify every spec; judge artifacts against the student, the student against its teachers.

    Args:
        source: the student as the exporters see it.
        specs: what to export.
        gates: what must be reached.
        folder: where the artifacts' files go.
        student: what the torch student answers on the select split.
        teacher: what its teachers answer there, where it has any.
        select: the split; report samples are not read.
        reporter: where progress goes.
    """
    task = task_named(source.task)
    feeds = {name: value.numpy() for name, value in next(task.batches(select)).x.items()}
    labels = truth_labels(task, select, teacher)
    artifacts = []
    with reporter.bar("export and verify", len(specs)) as bar:
        for number, spec in enumerate(specs):
            reason = can_export(spec)
            if reason is not None:
                artifacts.append(
                    Artifact(name=spec.name, spec=spec, files=[], status="not-run", reason=reason)
                )
                continue
            artifact = verify_artifact(
                source,
                export_artifact(source, spec, folder),
                folder,
                feeds=feeds,
                progress=partial(bar.at, number),
            )
            if artifact.status == "verified":
                found = _answers(artifact, source, folder, task.batches(select))
                artifact = _judge(artifact, gates.artifact_vs_student, task, student, found, labels)
            artifacts.append(artifact)
            bar.at(number + 1)
            reporter.note(
                f"{artifact.name}: {artifact.status}{': ' + artifact.reason if artifact.reason else ''}"
            )
    checks = []
    if gates.student_vs_teacher.max_drop_points is not None and teacher is not None:
        drop = judge_drop(
            correct(teacher[task.head], labels),
            correct(student[task.head], labels),
            gates.student_vs_teacher.max_drop_points,
            precision="fp16",  # judged by its bound, like every artifact that is not numerically the same
        )
        checks.append(replace(drop, name=f"student_vs_teacher {drop.name}"))
    return Shipment(source, artifacts, checks)


def require_fit(shipment: Shipment) -> None:
    """Raise the first failed gate.

    Raises:
        NumericGateError: a required artifact's numbers are off.
        AccuracyGateError: a required artifact, or the student, is not accurate enough.
    """
    check_fit_to_ship(shipment.artifacts)
    for check in shipment.gates:
        if not check.passed:
            raise AccuracyGateError(
                f"gate {check.name}: found {check.value:.4g} points, limit {check.limit:.4g}; {check.detail}"
            )


def _answers(artifact: Artifact, source: ExportSource, folder: Path, batches: Iterator[Batch]) -> Answers:
    with closing(open_runtime(OPENERS[artifact.spec.format], folder / artifact.files[0].path)) as runtime:
        return artifact_answers(runtime, source.outputs, batches)


def _judge(
    artifact: Artifact,
    gate: VsStudentGate,
    task: Task,
    student: Answers,
    found: Answers,
    labels: NDArray[np.int64],
) -> Artifact:
    precision = artifact.spec.precision
    same = same_answers(task, student, found)
    checks = [judge_agreement(same, gate.min_agreement[precision], precision=precision)]
    if task.answers == "classes":
        before, after = (correct(answers[task.head], labels) for answers in (student, found))
        checks.append(judge_drop(before, after, gate.max_drop_points, precision=precision))
    failed = [check for check in checks if not check.passed]
    return replace(
        artifact,
        checks=[*artifact.checks, *checks],
        status="rejected" if failed else "verified",
        reason="; ".join(f"{check.name}: {check.detail}" for check in failed),
    )
