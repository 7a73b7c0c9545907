"""The one path from a finished student to a bundle, for `run` and `export` alike.

1. Export every variant, verify it, and put it through the gates, on select samples alone, where it is also
   judged whether the student may be recommended.
2. A failed gate ends it; where there is a report, what is known so far is written first.
3. Measure what ships, if that is asked for, and choose the variant that is loaded by default.
4. Where there is truth, read the report split once and tell it.
5. Write the bundle, verify its golden cases through the path that serves, and only then move it into place.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from compactor.release.artifacts import VERIFY, Shipment, export_and_judge, export_source, require_fit, timed
from compactor.release.job import ReleaseJob
from compactor.release.measurement import Costs, measure_all
from compactor.release.readiness import readiness
from compactor.release.rejection import choose_rejection, told
from compactor.release.report import ChosenOnSelect, bundle_metrics, opening_report, told_report
from compactor.release.thresholds import choose_thresholds
from compactor.release.thresholds import told as told_thresholds
from compactor.release.vocabulary_hint import vocabulary_hint
from compactor_exporters.bundle_writer import BundleContents, move_into_place, write_bundle
from compactor_exporters.verify.artifact import concluded
from compactor_exporters.verify.gates import AGREEMENT_GATE
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.errors import CompactorError
from compactor_runtimes.golden.verify import verify_bundle
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.report import Report, artifact_name, choose, recommend, write_report
from compactor_runtimes.report.contents import Variant

GOLDEN_SAMPLES = 8
SMOKE = "Nothing is recommended: a smoke run shows that every step works, and its figures mean nothing."
BUNDLE, GOLDEN = "bundle", "golden"


@dataclass(frozen=True)
class Released:
    """A finished release; `seconds` tells how long exporting and checking took, by name."""

    bundle: Path
    artifacts: list[Artifact]
    default: str
    measurements: list[Measurement]
    seconds: dict[str, float]
    report: Report | None = None
    report_file: Path | None = None


def release(job: ReleaseJob, *, place: Path | None = None) -> Released:
    """Take a student to its bundle; see the rules above.

    Args:
        job: the student and what is asked for.
        place: where the bundle goes; absent = into the job's folder.

    Raises:
        NumericGateError, AccuracyGateError: a gate failed; there is no bundle.
    """
    shipment, chosen = _export(job)
    report = None if job.head is None else opening_report(job, job.head, shipment)
    try:
        require_fit(shipment)
    except CompactorError:  # what is known so far is not lost; the report split stays unread
        if report is not None:
            write_report(report, job.report_folder)
        raise
    shipping = [artifact for artifact in shipment.artifacts if artifact.ships]
    costs = measure_all(job, shipment.source, shipping) if job.measure.scenarios else Costs()
    measurements = costs.measurements
    job.journal.write("measured", n=len(measurements))
    choice = choose(shipment.artifacts, measurements, job.wish)
    # without a race and without a report that explains it, the order that was asked for decides
    best = choice.artifact if measurements or report is not None else shipping[0]
    for one in choice.variants:
        job.journal.write("choice", name=one.artifact, decision=one.decision, reason=one.reason)
    report_file = None
    if report is not None:
        hint = vocabulary_hint(job)
        if hint is not None:
            job.reporter.note(hint)
        report = msgspec.structs.replace(
            report,
            measurements=measurements,
            anatomies=costs.anatomies,
            notes=[*report.notes, *costs.notes, *([] if hint is None else [hint])],
            shipped=artifact_name(best),
            choice=choice.variants,
        )
        report = told_report(job, report, shipping, chosen)
        report = msgspec.structs.replace(report, recommendation=SMOKE if job.is_smoke else recommend(report))
        report_file = write_report(report, job.report_folder)
    bundle = _write(job, shipment, best, report, place)
    return Released(
        bundle, shipment.artifacts, best.name, measurements, shipment.seconds, report, report_file
    )


def _export(job: ReleaseJob) -> tuple[Shipment, ChosenOnSelect]:
    """Rule 1; what is rejected or answered is chosen by what the student says on select."""
    select = job.data.select
    student, teacher = job.student_says(select), job.teachers_say(select)
    source = export_source(job.student, job.name, job.task_name, data=None if job.head is None else job.data)
    rejection = None
    if job.reject is not None:
        rejection = choose_rejection(job.reject, job.task, job.data, student=student, teacher=teacher)
        source = replace(source, post=rejection.posts(source.post, job.task.head.name))
        job.reporter.note(told(rejection, select))
        job.journal.write("reject", below=rejection.student, label=rejection.none_name)
    thresholds = choose_thresholds(job.task, select, student=student, teacher=teacher)
    if thresholds is not None:
        name = job.task.head.name
        source = replace(source, post=thresholds.posts(source.post, name))
        if job.head is not None:
            job.reporter.note(told_thresholds(thresholds, job.data.info.classes[name], select))
        job.journal.write("thresholds", values=thresholds.student)
    shipment = export_and_judge(
        source,
        list(job.exports),
        job.gates,
        job.artifact_folder,
        student=student,
        teacher=teacher,
        select=select,
        reporter=job.reporter,
        has_truth=job.head is not None,
        thresholds=thresholds,
    )
    if job.head is not None and job.gates is not None and not job.is_smoke:
        shipment.readiness.extend(
            readiness(job.task, select, job.gates, student=student, teacher=teacher, thresholds=thresholds)
        )
    if job.head is None:
        shipment.artifacts[:] = [_with_way_out(one) for one in shipment.artifacts]
    for artifact in shipment.artifacts:
        job.journal.write("artifact", name=artifact.name, status=artifact.status, reason=artifact.reason)
    return shipment, ChosenOnSelect(rejection, thresholds)


def _with_way_out(artifact: Artifact) -> Artifact:
    """What the samples cannot decide, data can."""
    checks = [
        msgspec.structs.replace(check, detail=f"{check.detail} (give DATA with so many select rows)")
        if check.name == AGREEMENT_GATE and "cannot be decided" in check.detail
        else check
        for check in artifact.checks
    ]
    if checks == artifact.checks:
        return artifact
    return concluded(msgspec.structs.replace(artifact, checks=checks))


def _write(
    job: ReleaseJob, shipment: Shipment, best: Artifact, report: Report | None, place: Path | None
) -> Path:
    """Rule 5."""
    bundle = write_bundle(job.folder / BUNDLE, _contents(job, shipment, best, report))
    try:
        with timed(shipment.seconds, VERIFY):
            verify_bundle(bundle, trust=True).raise_for_gate()  # made here
    except CompactorError:  # kept for looking at, but not under the name of a bundle
        bundle.rename(bundle.with_name(f"{BUNDLE}-rejected"))
        raise
    if place is None:
        return bundle
    move_into_place(bundle, place)
    return place


def _contents(job: ReleaseJob, shipment: Shipment, best: Artifact, report: Report | None) -> BundleContents:
    golden, select = job.folder / GOLDEN, job.data.select
    raws = job.task.raws(select, GOLDEN_SAMPLES, golden) + job.task.edge_raws(select, golden)
    files = [] if report is None else job.report_folder.iterdir()
    return BundleContents(
        source=shipment.source,
        artifacts=shipment.artifacts,
        artifact_folder=job.artifact_folder,
        student_folder=job.student_folder,
        raws=raws,
        report_files=sorted(path for path in files if path.is_file()),
        metrics={} if report is None else bundle_metrics(report),
        provenance=job.provenance if report is None else job.provenance | {"choice": _chosen(report.choice)},
        licences={"code": "Apache-2.0 (compactor-toolkit)", **job.licences},
        default_artifact=best.name,
    )


def _chosen(variants: list[Variant]) -> dict[str, dict[str, str]]:
    """What became of each variant, and why."""
    return {one.artifact: {"decision": one.decision, "reason": one.reason} for one in variants}
