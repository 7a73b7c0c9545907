"""The report of a release: what is known before the report split is read, and the truth that it tells."""

from dataclasses import dataclass
from typing import Any

import msgspec

from compactor.evaluation import class_names, sample_ids, split_labels, truth_labels
from compactor.records import head_at
from compactor.release.artifacts import Shipment
from compactor.release.class_details import class_rows, confusion, examples
from compactor.release.job import ReleaseJob, ReportHead
from compactor.release.label_scores import labels_report
from compactor.release.rejection import Rejection
from compactor.release.scores import accuracy_rows, ask_everyone, predictions_of, slot_rows, step_rows
from compactor.release.thresholds import Thresholds
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.environment import describe
from compactor_runtimes.report import Report
from compactor_runtimes.stats.predictions import write_predictions


@dataclass(frozen=True)
class ChosenOnSelect:
    """What decides about answers and was chosen on select: which are rejected, which labels are answered."""

    rejection: Rejection | None = None
    thresholds: Thresholds | None = None


NOTHING = ChosenOnSelect()


def opening_report(job: ReleaseJob, head: ReportHead, shipment: Shipment) -> Report:
    """Say what is known once every variant was judged; it is all there is if a gate failed."""
    return Report(
        title=head.title,
        recipe=job.name,
        task=job.task_name,
        environment=describe(),
        accuracy=[],
        paired=[],
        measurements=[],
        gates=[*shipment.gates, *shipment.readiness],
        artifacts=shipment.artifacts,
        recommendation="ship nothing: a gate failed",
        curves=head.curves,
        notes=head.notes,
        report_digest=job.data.report.digest,
        provenance=job.provenance,
    )


def told_report(
    job: ReleaseJob, report: Report, artifacts: list[Artifact], chosen: ChosenOnSelect = NOTHING
) -> Report:
    """Read the report split: scores, steps, classes, confusions, mistakes; keep what everyone answered.

    `chosen` says which answers are rejected; the other scores are of all answers.
    """
    rejection = chosen.rejection
    everyone = ask_everyone(job, artifacts)
    split, task, of_words = job.data.report, job.task, head_at(job.task.heads, "word")
    student = next(subject for subject in everyone if subject.kind == "student")
    shipped = [subject for subject in everyone if subject.kind == "artifact"]
    asked = [subject for subject in everyone if subject.kind == "teacher"]
    teacher = asked[-1] if asked else None  # the last one is all of them together
    labels = truth_labels(task, split, None if teacher is None else teacher.logits)
    own = split_labels(task, split)
    labelled = bool((own >= 0).any())
    if chosen.thresholds is not None:
        return labels_report(
            report,
            everyone,
            labels,
            job.data.info.classes[task.head.name],
            thresholds=chosen.thresholds,
            teacher=teacher,
            split=split.name,
            labelled=labelled,
        )
    rows = accuracy_rows(everyone, labels, task=task, teacher=teacher, split=split.name, labelled=labelled)
    report = msgspec.structs.replace(report, accuracy=rows, labelled=labelled)
    if not task.head.is_labelled:
        return report
    predictions = predictions_of(everyone, own, sample_ids(task, split), split.digest)
    write_predictions(predictions, job.report_folder)
    names = class_names(task, split, job.data.info.classes[task.head.name])
    shown = [student.name, *([teacher.name] if teacher else []), report.shipped]
    top1 = {name: predictions.top1[name] for name in shown}
    return msgspec.structs.replace(
        report,
        paired=step_rows(student, shipped, labels, teacher=teacher),
        classes=class_rows(labels, top1, names),
        confusion=confusion(report.shipped, labels, top1[report.shipped], names),
        rejects=[] if rejection is None else rejection.rows(everyone, labels, split=split.name),
        scores=[]
        if of_words is None or not labelled
        else slot_rows(everyone, labels, task=task, teacher=teacher, split=split),
        examples=[]
        if teacher is None or not labelled or task.head == of_words
        else examples(split, labels, teacher.logits, student.logits, names),
    )


def bundle_metrics(report: Report) -> dict[str, Any]:
    """What a bundle's manifest says of everyone's score."""
    return {
        row.subject: {
            row.metric: row.value,
            "low": row.low,
            "high": row.high,
            "n": row.n,
            "split": row.split,
        }
        for row in report.accuracy
    }
