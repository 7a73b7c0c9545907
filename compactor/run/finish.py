"""What follows training: export and gates, measurement, truth on the report split, report, bundle."""

from pathlib import Path
from typing import Any

import msgspec

import compactor
from compactor.data.datasets import Dataset
from compactor.evaluation import split_labels, student_answers, teacher_answers
from compactor.models.build import load_model_folder, save_model
from compactor.progress import Reporter
from compactor.recipe import STAGE, LoadedRecipe, ModelSpec
from compactor.run.cost import artifact_name, fastest, measure_all
from compactor.run.digest import TOOLS, tool_versions
from compactor.run.journal import Journal
from compactor.run.plan import Plan
from compactor.run.ship import Shipment, export_and_judge, export_source, require_fit
from compactor.run.stages import describe_teacher, open_teacher, teacher_provenance
from compactor.run.truth import accuracy_rows, ask_everyone, step_rows
from compactor.tasks import task_named
from compactor.teachers import Teachers
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError
from compactor_runtimes.golden import verify_bundle
from compactor_runtimes.manifest import Artifact
from compactor_runtimes.report import AccuracyRow, PairedRow, Report, write_report

GOLDEN_SAMPLES = 8


class Finish:
    """The last stage's student and its teachers, on their way into a bundle."""

    def __init__(
        self,
        loaded: LoadedRecipe,
        plan: Plan,
        run: Path,
        data: Dataset,
        done: dict[str, Path],
        reporter: Reporter,
        journal: Journal,
    ) -> None:
        """Open the student and the teachers that it is compared with."""
        self.loaded, self.recipe, self.plan, self.run = loaded, loaded.recipe, plan, run
        self.data, self.done, self.reporter, self.journal = data, done, reporter, journal
        self.task, self.stage = task_named(self.recipe.task), self.recipe.stages[-1]
        self.student_folder = done[self.stage.id]
        self.student = load_model_folder(self.student_folder)
        self.references = self.recipe.stage_teachers(self.stage)
        self.teacher_folders = [
            self._teacher_folder(number, item) for number, item in enumerate(self.references)
        ]
        self.teachers = [load_model_folder(folder) for folder in self.teacher_folders]

    def ship(self) -> tuple[Path, Report, Path]:
        """Export, judge, measure, tell the truth, and pack; return bundle, report and the report's file.

        Raises:
            NumericGateError, AccuracyGateError: a gate failed; the report so far is written, no bundle is.
        """
        shipment = self._export()
        for artifact in shipment.artifacts:
            self.journal.write("artifact", name=artifact.name, status=artifact.status, reason=artifact.reason)
        report = self._report(shipment)
        try:
            require_fit(shipment)
        except CompactorError:  # what is known so far is not lost; the report split stays unread
            write_report(report, self.run / "report")
            raise
        verified = [artifact for artifact in shipment.artifacts if artifact.status == "verified"]
        teachers = [describe_teacher(reference) for reference in self.references]
        measurements = measure_all(self, shipment.source, verified, teachers)
        self.journal.write("measured", n=len(measurements))
        accuracy, paired = self._truth(verified, teachers)
        best = fastest(verified, measurements)
        passed = (
            f"the fastest of {len(verified)} that passed" if len(verified) > 1 else "the only one that passed"
        )
        report = msgspec.structs.replace(
            report,
            accuracy=accuracy,
            paired=paired,
            measurements=measurements,
            recommendation=f"ship {artifact_name(best)}: verified within its gates, {passed}",
        )
        report_file = write_report(report, self.run / "report")
        bundle = write_bundle(self.run / "bundle", self._contents(shipment, best, report, report_file))
        try:
            verify_bundle(bundle).raise_for_gate()
        except CompactorError:  # kept for looking at, but not under the name of a bundle
            bundle.rename(bundle.with_name("bundle-rejected"))
            raise
        return bundle, report, report_file

    def _teacher_folder(self, number: int, reference: ModelSpec | str) -> Path:
        if isinstance(reference, str):
            return self.done[reference.removeprefix(STAGE)]
        folder = self.run / "teachers" / str(number)
        save_model(open_teacher(reference, self.data.info, self.loaded.base, self.done), reference, folder)
        return folder

    def _export(self) -> Shipment:
        select, teachers = self.data.select, Teachers(self.teachers)
        return export_and_judge(
            export_source(self.student, self.recipe.name, self.recipe.task),
            self.recipe.export,
            self.recipe.gates,
            self.run / "artifacts",
            student=student_answers(self.student, self.task.batches(select)),
            teacher=teacher_answers(teachers, self.task.batches(select)) if self.teachers else None,
            select=select,
            reporter=self.reporter,
        )

    def _truth(
        self, verified: list[Artifact], teachers: list[str]
    ) -> tuple[list[AccuracyRow], list[PairedRow]]:
        labels = split_labels(self.task, self.data.report)
        everyone = ask_everyone(self, verified, teachers)
        student = next(subject for subject in everyone if subject.kind == "student")
        artifacts = [subject for subject in everyone if subject.kind == "artifact"]
        asked = [subject for subject in everyone if subject.kind == "teacher"]
        teacher = asked[-1] if asked else None  # the last one is all of them together
        return (
            accuracy_rows(everyone, labels, teacher=teacher, split="report"),
            step_rows(student, artifacts, labels, teacher=teacher),
        )

    def _report(self, shipment: Shipment) -> Report:
        names = [describe_teacher(reference) for reference in self.references]
        return Report(
            title=self.recipe.stage_student(self.stage).model
            + (f" from {' + '.join(names)}" if names else ""),
            recipe=self.recipe.name,
            task=self.recipe.task,
            environment=describe(),
            accuracy=[],
            paired=[],
            measurements=[],
            gates=shipment.gates,
            artifacts=shipment.artifacts,
            recommendation="ship nothing: a gate failed",
        )

    def _contents(
        self, shipment: Shipment, best: Artifact, report: Report, report_file: Path
    ) -> BundleContents:
        golden = self.run / "golden"
        raws = self.task.raws(self.data.select, GOLDEN_SAMPLES, golden)
        raws += self.task.edge_raws(self.data.select, golden)
        splits = (self.data.train, self.data.select, self.data.report)
        provenance: dict[str, Any] = {
            "compactor": compactor.__version__,
            "recipe": msgspec.to_builtins(self.recipe),
            "stages": self.plan.digests,
            "teachers": [teacher_provenance(reference, self.plan.digests) for reference in self.references],
            "data": {split.name: split.digest for split in splits},
            "versions": tool_versions((*TOOLS, "onnx", "onnxscript", "onnxruntime")),
            "seed": self.recipe.seed,
        }
        return BundleContents(
            source=shipment.source,
            artifacts=shipment.artifacts,
            artifact_folder=self.run / "artifacts",
            student_folder=self.student_folder,
            raws=raws,
            report_files=[report_file],
            metrics={
                row.subject: {
                    row.metric: row.value,
                    "low": row.low,
                    "high": row.high,
                    "n": row.n,
                    "split": row.split,
                }
                for row in report.accuracy
            },
            provenance=provenance,
            licences={"code": "Apache-2.0 (compactor-toolkit)", **self.recipe.licences},
            default_artifact=best.name,
        )
