"""Export the student, verify every artifact and put it through the gates, on select samples alone."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from compactor.data.splits import Dataset, Split
from compactor.evaluation import SAME_DIRECTION, artifact_answers, headline, same_answers, truth_labels
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.spec import GatesSpec, VsStudentGate
from compactor.records import Batch
from compactor.release.calibration import arrays_of, calibration_samples
from compactor.release.thresholds import Thresholds
from compactor.tasks import Answers, Task, task_named
from compactor_exporters import ExportSource, Workspace, can_export, export_artifact
from compactor_exporters.bundle_writer import check_fit_to_ship
from compactor_exporters.verify.artifact import concluded, verify_against
from compactor_exporters.verify.gates import Precision, judge_agreement, judge_drop, judge_map_drop
from compactor_exporters.verify.reference import Reference
from compactor_runtimes.backends import open_files
from compactor_runtimes.bundle.manifest import Artifact, Calibration, Check, ExportSpec
from compactor_runtimes.errors import AccuracyGateError, NumericGateError, UnfitEnvironmentError, UsageError
from compactor_runtimes.stats.metrics import correct
from compactor_runtimes.stats.multi_label import THRESHOLD, map_difference

CALIBRATION_SEED = 0
EXPORT, VERIFY = "export", "verify"


@dataclass(frozen=True)
class Shipment:
    """What was exported, with verdicts, what the gates said, and how long making and checking took.

    `readiness` says whether the student may be recommended (`readiness.py`).
    """

    source: ExportSource
    artifacts: list[Artifact]
    gates: list[Check]
    readiness: list[Check] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((EXPORT, VERIFY), 0.0))


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Add the seconds that pass to `seconds[what]`."""
    started = perf_counter()
    try:
        yield
    finally:
        seconds[what] += perf_counter() - started


def export_source(student: Student, name: str, task: str, *, data: Dataset | None = None) -> ExportSource:
    """Describe a trained student to the exporters; `data` gives the samples that int8 is calibrated on."""

    def calibration(wanted: Calibration) -> dict[str, NDArray[Any]]:
        assert data is not None
        return calibration_samples(task_named(task), data, wanted, seed=CALIBRATION_SEED)

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
        calibration=None if data is None else calibration,
    )


def export_and_judge(
    source: ExportSource,
    specs: list[ExportSpec],
    gates: GatesSpec | None,
    folder: Path,
    *,
    student: Answers,
    teacher: Answers | None,
    select: Split,
    reporter: Reporter,
    has_truth: bool = True,
    thresholds: Thresholds | None = None,
) -> Shipment:
    """Export and verify every spec; judge artifacts against the student, the student against its teachers.

    Args:
        source: the student as the exporters see it.
        specs: what to export.
        gates: what must be reached; None = nothing but the numbers is judged (random weights).
        folder: where the artifacts' files go.
        student: what the torch student answers on the select split.
        teacher: what its teachers answer there, where it has any.
        select: the split; report samples are not read.
        reporter: where progress goes.
        has_truth: False = `select` has neither labels nor teachers: agreement is judged, accuracy is not.
        thresholds: from which probabilities on labels are answered, where any number may be true.
    """
    task = task_named(source.task)
    said = None if teacher is None else headline(task, select, teacher)
    labels = truth_labels(task, select, said) if has_truth else None
    shipment = Shipment(source, [], [])
    reference: Reference | None = None
    workspace = Workspace(folder)
    with reporter.bar("export and verify", len(specs)) as bar:
        for number, spec in enumerate(specs):
            tell = partial(bar.at, number)
            with timed(shipment.seconds, EXPORT):
                artifact = _export(source, spec, workspace, tell)
            if artifact.files and not artifact.reason:  # otherwise the reason says what would run it
                with timed(shipment.seconds, VERIFY):
                    if reference is None:
                        reference = Reference(source, arrays_of(next(task.batches(select))), progress=tell)
                    reference.tell = tell
                    artifact = verify_against(reference, artifact, workspace)
                    if artifact.ships and gates is not None:
                        found = _answers(artifact, source, folder, task.batches(select))
                        artifact = _judge(
                            artifact,
                            gates.artifact_vs_student,
                            select,
                            task,
                            student,
                            found,
                            labels,
                            thresholds,
                        )
            shipment.artifacts.append(artifact)
            bar.at(number + 1)
            reporter.note(
                f"{artifact.name}: {artifact.status}{': ' + artifact.reason if artifact.reason else ''}"
            )
    if labels is None or gates is None or teacher is None:
        return shipment
    if gates.student_vs_teacher.max_drop_points is not None:
        # judged by its bound, like every artifact that is not numerically the same
        drop = _dropped(
            task, select, teacher, student, labels, gates.student_vs_teacher.max_drop_points, "fp16"
        )
        shipment.gates.append(replace(drop, name=f"student_vs_teacher {drop.name}"))
    return shipment


def _export(
    source: ExportSource, spec: ExportSpec, workspace: Workspace, tell: Callable[[str], None]
) -> Artifact:
    """Export one entry; an optional one that cannot be made here, or of this, is left out with the reason."""
    reason = can_export(spec)
    if reason is not None:
        return Artifact(name=spec.name, spec=spec, files=[], status="not-run", reason=reason)
    tell(f"{spec.name}: export")
    try:
        return export_artifact(
            source,
            spec,
            workspace,
            progress=lambda phase, done, of: tell(f"{spec.name}: {phase} {done}/{of}"),
        )
    except (NumericGateError, UnfitEnvironmentError, UsageError) as error:
        if spec.required:
            raise
        return Artifact(name=spec.name, spec=spec, files=[], status="rejected", reason=str(error))


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
    with closing(open_files(artifact, folder.joinpath, trust=True)) as runtime:  # it was made here
        return artifact_answers(runtime, source.outputs, batches)


def _judge(
    artifact: Artifact,
    gate: VsStudentGate,
    select: Split,
    task: Task,
    student: Answers,
    found: Answers,
    labels: NDArray[np.int64] | None,
    thresholds: Thresholds | None,
) -> Artifact:
    precision = artifact.spec.precision
    same = same_answers(task, student, found, thresholds.student if thresholds else (THRESHOLD,))
    vectors = task.head.activation == "none"
    meaning = f"have a cosine of at least {SAME_DIRECTION} with the student's" if vectors else "agree"
    least = (VsStudentGate().min_agreement | gate.min_agreement)[precision]  # what is not named stays
    checks = [judge_agreement(same, least, precision=precision, meaning=meaning)]
    if task.head.is_labelled and labels is not None:
        checks.append(_dropped(task, select, student, found, labels, gate.max_drop_points, precision))
    return concluded(replace(artifact, checks=[*artifact.checks, *checks]))


def _dropped(
    task: Task,
    select: Split,
    before: Answers,
    after: Answers,
    labels: NDArray[np.int64],
    most_points: float,
    precision: Precision,
) -> Check:
    """Judge how much of the headline was lost: accuracy or, of any number of labels, mAP."""
    first, second = (headline(task, select, one) for one in (before, after))
    if task.head.activation == "sigmoid":
        return judge_map_drop(map_difference(first, second, labels), most_points, precision=precision)
    return judge_drop(correct(first, labels), correct(second, labels), most_points, precision=precision)
