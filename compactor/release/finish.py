"""What follows training: export and gates, measurement, truth on the report split, report, bundle."""

from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.digest import TOOLS, tool_versions
from compactor.cache.journal import Journal
from compactor.data.splits import Dataset, Split
from compactor.evaluation import (
    class_names,
    sample_ids,
    split_labels,
    stored_answers,
    student_answers,
    teacher_answers,
    truth_labels,
)
from compactor.label_store.store import LabelStore
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.release.artifacts import Shipment, export_and_judge, export_source, require_fit
from compactor.release.details import class_rows, confusion, curves, examples
from compactor.release.measured import measure_all
from compactor.release.scores import (
    Subject,
    accuracy_rows,
    ask_everyone,
    predictions_of,
    slot_rows,
    step_rows,
)
from compactor.run.plan import Plan
from compactor.run.stages import describe_teacher, open_teacher, teacher_provenance
from compactor.tasks import Answers, task_named
from compactor.teachers import Teachers
from compactor.version import VERSION
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError, UsageError
from compactor_runtimes.golden.verify import verify_bundle
from compactor_runtimes.report import Report, artifact_name, choose, recommend, write_report
from compactor_runtimes.stats.predictions import write_predictions

GOLDEN_SAMPLES = 8


class Finish:
    """The last stage's student, or the recipe's own, and its teachers, on their way into a bundle."""

    def __init__(
        self,
        loaded: LoadedRecipe,
        plan: Plan,
        run: Path,
        data: Dataset,
        done: dict[str, Path],
        reporter: Reporter,
        journal: Journal,
        store: LabelStore | None = None,
    ) -> None:
        """Open the student and the teachers that judge it; without any, `store` speaks for them."""
        self.store = store
        self.loaded, self.recipe, self.plan, self.run = loaded, loaded.recipe, plan, run
        self.data, self.done, self.reporter, self.journal = data, done, reporter, journal
        self.task = task_named(self.recipe.task)
        if self.recipe.stages:
            stage = self.recipe.stages[-1]
            self.student_spec, self.references = (
                self.recipe.stage_student(stage),
                self.recipe.stage_teachers(stage),
            )
            self.student_folder = done[stage.id]
        else:  # trained elsewhere: it goes straight to export
            assert self.recipe.student is not None  # checked when the recipe was loaded
            self.student_spec, self.references = self.recipe.student, self.recipe.teachers
            self.student_folder = run / "student"
            model = build_model(self.student_spec, data.info, base=loaded.base)
            if model.untrained:
                raise UsageError(
                    f"student {self.student_spec.model}: its weights hold no "
                    f"{', '.join(model.untrained[:2])}, so these are random; add a stage that trains it, or "
                    "give weights that hold them"
                )
            save_model(model, self.student_spec, self.student_folder)
        self.student = load_model_folder(self.student_folder)
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
        verified = [artifact for artifact in shipment.artifacts if artifact.ships]
        teachers = [describe_teacher(reference) for reference in self.references]
        asked = self.recipe.measure.scenarios  # none = nothing is timed, and the simplest variant is loaded
        measurements = measure_all(self, shipment.source, verified, teachers) if asked else []
        self.journal.write("measured", n=len(measurements))
        choice = choose(shipment.artifacts, measurements)
        best = choice.artifact
        for one in choice.variants:
            self.journal.write("choice", name=one.artifact, decision=one.decision, reason=one.reason)
        report = msgspec.structs.replace(
            report, measurements=measurements, shipped=artifact_name(best), choice=choice.variants
        )
        report = self._tell(report, ask_everyone(self, verified, teachers))
        report = msgspec.structs.replace(report, recommendation=recommend(report))
        report_file = write_report(report, self.run / "report")
        bundle = write_bundle(self.run / "bundle", self._contents(shipment, best, report))
        try:
            verify_bundle(bundle).raise_for_gate()
        except CompactorError:  # kept for looking at, but not under the name of a bundle
            bundle.rename(bundle.with_name("bundle-rejected"))
            raise
        return bundle, report, report_file

    def stored(self, split: Split) -> Answers | None:
        """What absent teachers said of a split, as far as a label store holds it."""
        return None if self.store is None else stored_answers(self.store, split)

    def _teacher_folder(self, number: int, reference: ModelSpec | str) -> Path:
        if isinstance(reference, str):
            return self.done[reference.removeprefix(STAGE)]
        folder = self.run / "teachers" / str(number)
        save_model(open_teacher(reference, self.data.info, self.loaded.base, self.done), reference, folder)
        return folder

    def _export(self) -> Shipment:
        select, teachers = self.data.select, Teachers(self.teachers)
        return export_and_judge(
            export_source(self.student, self.recipe.name, self.recipe.task, data=self.data),
            self.recipe.export,
            self.recipe.gates,
            self.run / "artifacts",
            student=student_answers(self.student, self.task.batches(select)),
            teacher=teacher_answers(teachers, self.task.batches(select))
            if self.teachers
            else self.stored(select),
            select=select,
            reporter=self.reporter,
        )

    def _tell(self, report: Report, everyone: list[Subject]) -> Report:
        """Fill in the truth: scores, steps, classes, confusions, mistakes; keep what everyone answered."""
        split, head = self.data.report, self.task.head
        student = next(subject for subject in everyone if subject.kind == "student")
        artifacts = [subject for subject in everyone if subject.kind == "artifact"]
        asked = [subject for subject in everyone if subject.kind == "teacher"]
        teacher = asked[-1] if asked else None  # the last one is all of them together
        labels = truth_labels(self.task, split, None if teacher is None else teacher.logits)
        own = split_labels(self.task, split)
        labelled = bool((own >= 0).any())
        rows = accuracy_rows(
            everyone, labels, task=self.task, teacher=teacher, split=split.name, labelled=labelled
        )
        report = msgspec.structs.replace(report, accuracy=rows, labelled=labelled)
        if self.task.answers == "embedding":
            return report
        predictions = predictions_of(everyone, own, sample_ids(self.task, split), split.digest)
        write_predictions(predictions, self.run / "report")
        names = class_names(self.task, split, self.data.info.classes[head])
        shown = [student.name, *([teacher.name] if teacher else []), report.shipped]
        top1 = {name: predictions.top1[name] for name in shown}
        return msgspec.structs.replace(
            report,
            paired=step_rows(student, artifacts, labels, teacher=teacher),
            classes=class_rows(labels, top1, names),
            confusion=confusion(report.shipped, labels, top1[report.shipped], names),
            scores=[]
            if self.task.word_head is None or not labelled
            else slot_rows(everyone, labels, task=self.task, teacher=teacher, split=split),
            examples=[]
            if teacher is None or not labelled or head == self.task.word_head
            else examples(split, labels, teacher.logits, student.logits, names),
        )

    def _report(self, shipment: Shipment) -> Report:
        names = [describe_teacher(reference) for reference in self.references]
        folders = {stage.id: self.done[stage.id].parent for stage in self.recipe.stages}
        return Report(
            title=self.student_spec.model + (f" from {' + '.join(names)}" if names else ""),
            recipe=self.recipe.name,
            task=self.recipe.task,
            environment=describe(),
            accuracy=[],
            paired=[],
            measurements=[],
            gates=shipment.gates,
            artifacts=shipment.artifacts,
            recommendation="ship nothing: a gate failed",
            curves=curves(folders),
            report_digest=self.data.report.digest,
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        splits = (self.data.train, self.data.select, self.data.report)
        return {
            "compactor": VERSION,
            "recipe": msgspec.to_builtins(self.recipe),
            "stages": self.plan.digests,
            **({"labels": self.plan.labels} if self.plan.labels else {}),
            "teachers": [teacher_provenance(reference, self.plan.digests) for reference in self.references],
            "data": {split.name: split.digest for split in splits},
            "versions": tool_versions((*TOOLS, "onnx", "onnxscript", "onnxruntime")),
            "seed": self.recipe.seed,
        }

    def _contents(self, shipment: Shipment, best: Artifact, report: Report) -> BundleContents:
        golden = self.run / "golden"
        raws = self.task.raws(self.data.select, GOLDEN_SAMPLES, golden)
        raws += self.task.edge_raws(self.data.select, golden)
        return BundleContents(
            source=shipment.source,
            artifacts=shipment.artifacts,
            artifact_folder=self.run / "artifacts",
            student_folder=self.student_folder,
            raws=raws,
            report_files=sorted(path for path in (self.run / "report").iterdir() if path.is_file()),
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
            provenance={
                **report.provenance,
                "choice": {
                    one.artifact: {"decision": one.decision, "reason": one.reason} for one in report.choice
                },
            },
            licences={"code": "Apache-2.0 (compactor-toolkit)", **self.recipe.licences},
            default_artifact=best.name,
        )
