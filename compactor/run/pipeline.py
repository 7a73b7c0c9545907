"""Run a recipe from teachers to bundle: stages, export and gates, measurement, truth, report, bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import compactor
from compactor.data.datasets import Dataset, open_dataset
from compactor.data.png import write_pngs
from compactor.evaluation import artifact_logits, split_labels, student_logits, teacher_logits
from compactor.models.build import WEIGHTS, load_model_folder, save_model
from compactor.models.classifier import parameter_count
from compactor.progress import Reporter, SilentReporter
from compactor.recipe import STAGE, LoadedRecipe, ModelSpec, to_yaml
from compactor.run.digest import TOOLS, file_digest, tool_versions
from compactor.run.folder import RunFolders, link_stage
from compactor.run.journal import Journal
from compactor.run.plan import Plan, make_plan
from compactor.run.ship import Shipment, export_and_judge, export_source, require_fit
from compactor.run.stages import (
    describe_teacher,
    is_main_process,
    open_teacher,
    teacher_provenance,
    train_stage,
)
from compactor.run.truth import Subject, accuracy_rows, step_rows
from compactor.teachers import Teachers
from compactor.torch_runtime import write_ensemble
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError, InterruptedRun, UsageError
from compactor_runtimes.golden import verify_bundle
from compactor_runtimes.manifest import Artifact
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.records import Candidate, Measurement, Settings
from compactor_runtimes.report import Report, write_report
from compactor_runtimes.runtime import OPENERS, open_runtime

GOLDEN_SAMPLES = 8
MEASURED_SAMPLES = 64
TORCH = "compactor.torch_runtime:open_runtime"
ENSEMBLE = "teachers"


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, the bundle, the report and where it lies."""

    folder: Path
    bundle: Path
    report: Report
    report_file: Path

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "folder": str(self.folder),
            "bundle": str(self.bundle),
            "report_file": str(self.report_file),
            "report": msgspec.to_builtins(self.report),
        }


def run_recipe(loaded: LoadedRecipe, *, runs: Path, reporter: Reporter | None = None) -> RunResult | None:
    """Run a recipe; finished stages are reused, an interrupted one goes on.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        reporter: where progress goes.

    Returns:
        The result; None in a process of torchrun other than the first, which only trains.

    Raises:
        CompactorError: its exit code says what kind of failure; what was computed before it is kept.
    """
    main = is_main_process()
    reporter = (reporter if main else None) or SilentReporter()
    plan = make_plan(loaded, runs, reporter=reporter)
    plan.require_runnable()
    data = open_dataset(loaded.recipe.stage_data(loaded.recipe.stages[-1]), base=loaded.base)
    for split in (data.select, data.report):
        if not (split_labels(split) >= 0).any():
            raise UsageError(
                f"data: the {split.name} split has no labels, and nothing can be judged without; label some rows"
            )
    folders = RunFolders(plan.root)
    run = folders.new_run() if main else plan.root
    journal = Journal(run / "journal.jsonl" if main else None)
    if main:
        (run / "recipe.yaml").write_text(to_yaml(loaded.recipe), encoding="utf-8")
        journal.write(
            "start",
            command=loaded.command(runs),
            plan=msgspec.to_builtins(plan.steps),
            environment=describe(),
        )
    try:
        done = _train(loaded, plan, folders, run, reporter, journal)
        if not main:
            return None
        result = _Finish(loaded, plan, run, data, done, reporter, journal).run_all()
    except InterruptedRun as stopped:
        journal.write("interrupted", message=str(stopped))
        raise InterruptedRun(f"{stopped}; go on with: {loaded.command(runs)}") from None
    except CompactorError as error:
        journal.write("failed", error=type(error).__name__, message=str(error), exit_code=error.exit_code)
        raise
    folders.point_latest(run)
    journal.write("done", bundle=str(result.bundle))
    return result


def _train(
    loaded: LoadedRecipe, plan: Plan, folders: RunFolders, run: Path, reporter: Reporter, journal: Journal
) -> dict[str, Path]:
    done: dict[str, Path] = {}
    actions = {step.id: step.action for step in plan.steps if step.kind == "train"}
    for stage in loaded.recipe.stages:
        digest = plan.digests[stage.id]
        folder = folders.stage(stage.id, digest)
        if actions[stage.id] == "reuse":
            done[stage.id] = folder / "student"
            reporter.note(f"{stage.id}: reused")
        else:
            done[stage.id] = train_stage(
                loaded, stage, folder, digest=digest, done=done, reporter=reporter, journal=journal
            )
        if is_main_process():
            link_stage(run, stage.id, folder)
    return done


class _Finish:
    """What follows training: everything about the last stage's student and its teachers."""

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
        self.loaded, self.recipe, self.plan, self.run = loaded, loaded.recipe, plan, run
        self.data, self.done, self.reporter, self.journal = data, done, reporter, journal
        self.stage = self.recipe.stages[-1]
        self.student_folder = done[self.stage.id]
        self.student = load_model_folder(self.student_folder)
        self.references = self.recipe.stage_teachers(self.stage)
        self.teacher_folders = [
            self._teacher_folder(number, item) for number, item in enumerate(self.references)
        ]
        self.teachers = [load_model_folder(folder) for folder in self.teacher_folders]

    def run_all(self) -> RunResult:
        """Export, judge, measure, tell the truth, and pack."""
        select_student = student_logits(self.student, self.data.select)
        select_teacher = teacher_logits(Teachers(self.teachers), self.data.select) if self.teachers else None
        shipment = export_and_judge(
            export_source(self.student, self.recipe, self.data),
            self.recipe.export,
            self.recipe.gates,
            self.run / "artifacts",
            student=self.student,
            student_select=select_student,
            teacher_select=select_teacher,
            data=self.data,
            reporter=self.reporter,
        )
        for artifact in shipment.artifacts:
            self.journal.write("artifact", name=artifact.name, status=artifact.status, reason=artifact.reason)
        try:
            require_fit(shipment)
        except CompactorError:  # what is known so far is not lost; report samples stay unread
            write_report(self._report(shipment, [], [], [], "nothing: a gate failed"), self.run / "report")
            raise
        verified = [artifact for artifact in shipment.artifacts if artifact.status == "verified"]
        measurements = self._measure(shipment, verified)
        subjects, teacher = self._subjects(verified)
        labels = split_labels(self.data.report)
        students = [subject for subject in subjects if subject.kind != "teacher"]
        report = self._report(
            shipment,
            accuracy_rows(subjects, labels, teacher=teacher, split="report"),
            step_rows(students[0], students[1:], labels, teacher=teacher),
            measurements,
            _recommend(verified, measurements),
        )
        report_file = write_report(report, self.run / "report")
        bundle = write_bundle(self.run / "bundle", self._contents(shipment, verified, report, report_file))
        verification = verify_bundle(bundle)
        verification.raise_for_gate()
        return RunResult(self.run, bundle, report, report_file)

    def _teacher_folder(self, number: int, reference: ModelSpec | str) -> Path:
        if isinstance(reference, str):
            return self.done[reference.removeprefix(STAGE)]
        folder = self.run / "teachers" / str(number)
        save_model(open_teacher(reference, self.data.info, self.loaded.base, self.done), reference, folder)
        return folder

    def _measure(self, shipment: Shipment, artifacts: list[Artifact]) -> list[Measurement]:
        source = shipment.source
        common: dict[str, Any] = {
            "input": source.inputs[0].name,
            "output": source.outputs[0].name,
            "pre": source.pre[0],
            "post": source.post[0],
            "labels": self.data.info.classes["label"],
        }
        candidates = []
        if self.teachers:
            ensemble = self.run / "teachers.json"
            write_ensemble(ensemble, self.teacher_folders)
            candidates.append(
                Candidate(
                    name=self.teacher_name,
                    runtime=TORCH,
                    source=str(ensemble),
                    digest="+".join(file_digest(folder / WEIGHTS)[:16] for folder in self.teacher_folders),
                    size_bytes=sum(_weights_bytes(folder) for folder in self.teacher_folders),
                    parameters=sum(parameter_count(model) for model in self.teachers),
                    **common,
                )
            )
        candidates.append(
            Candidate(
                name="student (torch)",
                runtime=TORCH,
                source=str(self.student_folder),
                digest=file_digest(self.student_folder / WEIGHTS),
                size_bytes=_weights_bytes(self.student_folder),
                parameters=parameter_count(self.student),
                **common,
            )
        )
        candidates += [
            Candidate(
                name=_artifact_name(artifact),
                runtime=OPENERS[artifact.spec.format],
                source=str(self.run / "artifacts" / artifact.files[0].path),
                digest=artifact.files[0].sha256,
                size_bytes=artifact.files[0].bytes,
                precision=artifact.spec.precision,
                **common,
            )
            for artifact in artifacts
        ]
        rows = self.data.select.rows[:MEASURED_SAMPLES]
        samples = write_pngs(self.data.select.images[rows], self.run / "measured", prefix="select")
        spec = self.recipe.measure
        settings = Settings(scenarios=spec.scenarios, profile=spec.profile, threads=spec.threads)
        with self.reporter.bar("measure", 1) as bar:
            found = measure(
                candidates, samples, settings, progress=lambda what, done, total: bar.at(done, what, total)
            )
        self.journal.write("measured", subjects=[candidate.name for candidate in candidates])
        return found

    @property
    def teacher_name(self) -> str:
        """The teachers' name as one subject."""
        names = [describe_teacher(reference) for reference in self.references]
        return f"{names[0]} (torch)" if len(names) == 1 else f"{ENSEMBLE} (torch)"

    def _subjects(self, artifacts: list[Artifact]) -> tuple[list[Subject], Subject | None]:
        """Read the report split, once: each teacher, all together, the student, each artifact."""
        split = self.data.report
        total = len(self.teachers) + (len(self.teachers) > 1) + 1 + len(artifacts)
        subjects: list[Subject] = []
        teacher: Subject | None = None
        with self.reporter.bar("truth on report", total * len(split)) as bar:

            def progress(done: int, _: int) -> None:
                bar.at(len(subjects) * len(split) + done)

            for reference, model, folder in zip(
                self.references, self.teachers, self.teacher_folders, strict=True
            ):
                logits = student_logits(model, split, progress=progress)
                name = f"{describe_teacher(reference)} (torch)"
                subjects.append(
                    Subject(name, "teacher", logits, parameter_count(model), _weights_bytes(folder))
                )
            if len(self.teachers) > 1:
                logits = teacher_logits(Teachers(self.teachers), split, progress=progress)
                parameters = sum(subject.parameters or 0 for subject in subjects)
                size = sum(subject.size_bytes or 0 for subject in subjects)
                subjects.append(Subject(self.teacher_name, "teacher", logits, parameters, size))
            if self.teachers:
                teacher = subjects[-1]
            logits = student_logits(self.student, split, progress=progress)
            size = _weights_bytes(self.student_folder)
            step = "distillation" if self.teachers else "training"
            subjects.append(
                Subject("student (torch)", "student", logits, parameter_count(self.student), size, step)
            )
            for artifact in artifacts:
                path = self.run / "artifacts" / artifact.files[0].path
                runtime = open_runtime(OPENERS[artifact.spec.format], path)
                logits = artifact_logits(runtime, self.student, split, progress=progress)
                runtime.close()
                size = sum(entry.bytes for entry in artifact.files)
                subjects.append(
                    Subject(
                        _artifact_name(artifact), "artifact", logits, None, size, f"export {artifact.name}"
                    )
                )
        return subjects, teacher

    def _report(
        self,
        shipment: Shipment,
        accuracy: list[Any],
        paired: list[Any],
        measurements: list[Measurement],
        recommendation: str,
    ) -> Report:
        return Report(
            title=f"{self.recipe.name}: {self.recipe.stage_student(self.stage).model}",
            recipe=self.recipe.name,
            task=self.recipe.task,
            environment=describe(),
            accuracy=accuracy,
            paired=paired,
            measurements=measurements,
            gates=shipment.gates,
            artifacts=shipment.artifacts,
            recommendation=recommendation,
        )

    def _contents(
        self, shipment: Shipment, verified: list[Artifact], report: Report, report_file: Path
    ) -> BundleContents:
        rows = self.data.select.rows[:GOLDEN_SAMPLES]
        images = np.asarray(self.data.select.images[rows])
        edges = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255)])
        golden = self.run / "golden"
        raws = write_pngs(images, golden, prefix="select") + write_pngs(edges, golden, prefix="edge")
        teachers = [teacher_provenance(reference, self.plan.digests) for reference in self.references]
        return BundleContents(
            source=shipment.source,
            artifacts=shipment.artifacts,
            artifact_folder=self.run / "artifacts",
            student_folder=self.student_folder,
            raws=raws,
            report_files=[report_file],
            metrics={
                row.subject: {"accuracy": row.value, "low": row.low, "high": row.high, "n": row.n}
                for row in report.accuracy
            },
            provenance={
                "compactor": compactor.__version__,
                "recipe": msgspec.to_builtins(self.recipe),
                "stages": self.plan.digests,
                "teachers": teachers,
                "data": {
                    "train": self.data.train.digest,
                    "select": self.data.select.digest,
                    "report": self.data.report.digest,
                },
                "versions": tool_versions((*TOOLS, "onnx", "onnxruntime")),
                "seed": self.recipe.seed,
            },
            licences={"code": "Apache-2.0 (compactor-toolkit)", **self.recipe.licences},
            default_artifact=_default(verified, report.measurements).name,
        )


def _artifact_name(artifact: Artifact) -> str:
    return f"{artifact.spec.format} {artifact.name}"


def _weights_bytes(folder: Path) -> int:
    return (folder / WEIGHTS).stat().st_size


def _default(verified: list[Artifact], measurements: list[Measurement]) -> Artifact:
    """The fastest artifact that passed every gate, by median compute time of single images."""
    medians = {
        one.subject: one.median_ns
        for one in measurements
        if one.scope == "compute" and one.scenario == "single-stream" and one.samples_ns
    }
    return min(verified, key=lambda artifact: medians.get(_artifact_name(artifact), float("inf")))


def _recommend(verified: list[Artifact], measurements: list[Measurement]) -> str:
    best = _default(verified, measurements)
    others = (
        f", the fastest of {len(verified)} that passed"
        if len(verified) > 1
        else ", the only one that was asked for"
    )
    return f"ship {_artifact_name(best)}: verified within its gates{others}"
