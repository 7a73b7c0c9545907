"""Export the student, verify every artifact and put it through the gates, on select samples alone."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from compactor.data.datasets import Dataset, image_steps
from compactor.data.loader import eval_batches
from compactor.evaluation import artifact_logits, split_labels
from compactor.models.classifier import PIXELS, ImageClassifier
from compactor.progress import Reporter
from compactor.recipe import GatesSpec, Recipe
from compactor_exporters import ExportSource, can_export, export_artifact
from compactor_exporters.bundle_writer import check_fit_to_ship
from compactor_exporters.gates import judge_agreement, judge_drop
from compactor_exporters.verify import verify_artifact
from compactor_runtimes.errors import AccuracyGateError
from compactor_runtimes.manifest import Artifact, Check, ExportSpec, ImagePre, SoftmaxPost, ToFloat
from compactor_runtimes.runtime import OPENERS, open_runtime

VERIFY_SAMPLES = 256


@dataclass(frozen=True)
class Shipment:
    """What was exported, with verdicts, and what the gates said."""

    source: ExportSource
    artifacts: list[Artifact]
    gates: list[Check]


def export_source(student: ImageClassifier, recipe: Recipe, data: Dataset) -> ExportSource:
    """Describe the trained student to the exporters."""
    return ExportSource(
        name=recipe.name,
        task=recipe.task,
        module=student.deploy(),
        example=student.example(),
        inputs=student.inputs,
        outputs=student.outputs,
        pre=[ImagePre(input=PIXELS, steps=[*image_steps(data.info), ToFloat()])],
        post=[SoftmaxPost(output="logits", labels="label")],
        labels=data.info.classes,
        student_weights=dict(student.state_dict(keep_vars=True)),
    )


def export_and_judge(
    source: ExportSource,
    specs: list[ExportSpec],
    gates: GatesSpec,
    folder: Path,
    *,
    student: ImageClassifier,
    student_select: NDArray[np.float32],
    teacher_select: NDArray[np.float32] | None,
    data: Dataset,
    reporter: Reporter,
) -> Shipment:
    """Export and verify every spec; judge artifacts against the student, the student against its teachers.

    Args:
        source: the student as the exporters see it.
        specs: what to export.
        gates: what must be reached.
        folder: where the artifacts' files go.
        student: the torch student.
        student_select: its logits [N, C] on the select split.
        teacher_select: the teachers' logits [N, C] there, where there are teachers.
        data: select samples are read, report samples are not.
        reporter: where progress goes.
    """
    first = next(eval_batches(data.select, VERIFY_SAMPLES))
    feeds = {name: value.numpy() for name, value in first.x.items()}
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
                artifact = _judge(artifact, gates, folder, student, student_select, data)
            artifacts.append(artifact)
            bar.at(number + 1)
            reporter.note(
                f"{artifact.name}: {artifact.status}{': ' + artifact.reason if artifact.reason else ''}"
            )
    checks = []
    if gates.student_vs_teacher.max_drop_points is not None and teacher_select is not None:
        labels = split_labels(data.select)
        drop = judge_drop(
            teacher_select.argmax(-1) == labels,
            student_select.argmax(-1) == labels,
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


def _judge(
    artifact: Artifact,
    gates: GatesSpec,
    folder: Path,
    student: ImageClassifier,
    student_select: NDArray[np.float32],
    data: Dataset,
) -> Artifact:
    gate, precision = gates.artifact_vs_student, artifact.spec.precision
    runtime = open_runtime(OPENERS[artifact.spec.format], folder / artifact.files[0].path)
    try:
        found = artifact_logits(runtime, student, data.select).argmax(-1)
    finally:
        runtime.close()
    expected, labels = student_select.argmax(-1), split_labels(data.select)
    checks = [
        judge_agreement(found == expected, gate.min_agreement[precision], precision=precision),
        judge_drop(expected == labels, found == labels, gate.max_drop_points, precision=precision),
    ]
    failed = [check for check in checks if not check.passed]
    return replace(
        artifact,
        checks=[*artifact.checks, *checks],
        status="rejected" if failed else "verified",
        reason="; ".join(f"{check.name}: {check.detail}" for check in failed),
    )
