"""What a run would do: which stages run, go on, are reused, or cannot run here, and why."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from compactor.cache.digest import TOOLS, digest_of, source_digest, tool_versions
from compactor.cache.folder import CHECKPOINT, DONE, STUDENT, RunFolders
from compactor.label_store.header import UNFINISHED_FILE, read_header
from compactor.methods import METHODS, method_named
from compactor.models import WRAPPERS
from compactor.models.references import model_digest, model_sources, reference_digest
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import ModelSpec, StageSpec
from compactor.run.data import DataSets
from compactor.run.labels import LabelJob, label_job, require_fit
from compactor.tasks import TASKS
from compactor_exporters import can_export
from compactor_runtimes.bundle.manifest import Calibration, ExportSpec
from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError, needs_extra

ALWAYS = ("compactor.trainer.fit", "compactor.models.build")

Action = Literal["run", "resume", "reuse", "cannot"]


class PlanStep(Struct, frozen=True, kw_only=True):
    """One step: what it is, what will happen and why; `digest` is the cache key of labels and stages.

    The labels of a stage have the stage's id.
    """

    id: str
    kind: Literal["label", "train", "export", "verify", "measure", "bundle"]
    action: Action
    reason: str = ""
    digest: str = ""
    detail: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """All steps in order."""

    name: str
    root: Path
    steps: list[PlanStep]

    @property
    def digests(self) -> dict[str, str]:
        """Cache key of every training stage."""
        return {step.id: step.digest for step in self.steps if step.kind == "train"}

    @property
    def labels(self) -> dict[str, str]:
        """Cache key of every label store, by the stage that learns from it."""
        return {step.id: step.digest for step in self.steps if step.kind == "label"}

    def require_runnable(self) -> None:
        """Refuse to start what cannot end.

        Raises:
            UnfitEnvironmentError: a required step cannot run here.
        """
        for step in self.steps:
            if step.action == "cannot" and not step.detail.startswith("optional"):
                raise UnfitEnvironmentError(f"{step.kind} {step.id}: cannot run here: {step.reason}")


def make_plan(loaded: LoadedRecipe, runs: Path, *, data: DataSets | None = None) -> Plan:
    """Plan a recipe; opens the data sets for their digests, trains nothing.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        data: the recipe's data sets, where the caller goes on to use them.

    Raises:
        UsageError: data or weights that are missing or cannot be used.
    """
    recipe = loaded.recipe
    folders = RunFolders(runs / recipe.name)
    steps: list[PlanStep] = []
    digests: dict[str, str] = {}
    done: dict[str, Path] = {}
    data = data or DataSets(loaded, SilentReporter())
    if not recipe.stages:  # what a stage would have checked
        assert recipe.student is not None
        data.open(recipe.data)
        model_digest(recipe.student, loaded.base)
    for stage in recipe.stages:
        detail = _stage_detail(loaded, stage)
        try:
            opened = data.open(recipe.stage_data(stage), recipe.stage_task(stage))
            labels = None
            if stage.labels is not None:
                job = label_job(loaded, stage, opened, folders, digests, done)
                steps.append(_label_step(job))
                labels = job.digest
            digests[stage.id] = stage_digest(loaded, stage, opened.digest, digests, labels=labels)
        except UnfitEnvironmentError as error:
            steps.append(
                PlanStep(id=stage.id, kind="train", action="cannot", reason=str(error), detail=detail)
            )
            continue
        folder = folders.stage(stage.id, digests[stage.id])
        action, reason = _stage_action(folder)
        if action == "reuse":
            done[stage.id] = folder / STUDENT
        steps.append(
            PlanStep(
                id=stage.id,
                kind="train",
                action=action,
                reason=reason,
                digest=digests[stage.id],
                detail=detail,
            )
        )
    for export in recipe.export:
        problem = can_export(export)
        steps.append(
            PlanStep(
                id=export.name,
                kind="export",
                action="cannot" if problem else "run",
                reason=problem or "",
                detail=_export_detail(export),
            )
        )
    problem = _bench_problem()
    steps.append(
        PlanStep(
            id="measure",
            kind="measure",
            action="cannot" if problem else "run",
            reason=problem,
            detail=f"{', '.join(recipe.measure.scenarios)}; profile {recipe.measure.profile}",
        )
    )
    steps.append(PlanStep(id="bundle", kind="bundle", action="run"))
    return Plan(name=recipe.name, root=folders.root, steps=steps)


def stage_digest(
    loaded: LoadedRecipe, stage: StageSpec, data: str, earlier: dict[str, str], *, labels: str | None = None
) -> str:
    """Cache key of a stage; an earlier stage, or a label store, that it refers to enters by its own key.

    Raises:
        UsageError: a weights file is missing.
        UnfitEnvironmentError: it refers to a stage that cannot run here.
    """
    recipe = loaded.recipe
    method = method_named(stage.method, f"stage {stage.id}")
    teachers = recipe.stage_teachers(stage) if method.learns_from_teachers else []
    models = [
        recipe.stage_student(stage),
        *(teacher for teacher in teachers if isinstance(teacher, ModelSpec)),
    ]
    task = recipe.stage_task(stage)
    sources = [*ALWAYS, TASKS[task], WRAPPERS[task], METHODS[stage.method], *method.sources]
    sources += [target for spec in models for target in model_sources(spec)]
    sources += ["compactor.samplers.mix"] if recipe.stage_data(stage).also else []
    return digest_of(
        {
            "stage": msgspec.to_builtins(stage) | {"student": None, "teachers": None, "data": None},
            "seed": recipe.seed,
            "task": task,
            "data": data,
            "student": model_digest(recipe.stage_student(stage), loaded.base),
            "init": reference_digest(stage.init, loaded.base, earlier),
            "labels": labels,
            "teachers": [reference_digest(teacher, loaded.base, earlier) for teacher in teachers],
            "versions": tool_versions(TOOLS),
            "source": source_digest(sources),
        }
    )


def _label_step(job: LabelJob) -> PlanStep:
    if job.is_made:
        require_fit(job, read_header(job.folder))
        action: Action = "reuse"
        reason = (
            "named by the recipe" if job.is_given else "made before by the same teachers of the same data"
        )
    elif job.is_given:
        raise UsageError(
            f"stage {job.stage.id}.labels.store: {job.folder} is no finished label store; finish it with "
            "`compactor label`, or remove labels.store to make one"
        )
    elif (job.folder / UNFINISHED_FILE).is_file():
        action, reason = "resume", "finished shards of an interrupted run are there"
    else:
        action, reason = "run", ""
    return PlanStep(
        id=job.stage.id, kind="label", action=action, reason=reason, digest=job.digest, detail=job.describe()
    )


def _stage_detail(loaded: LoadedRecipe, stage: StageSpec) -> str:
    recipe = loaded.recipe
    length = f"{stage.epochs} epochs" if stage.epochs else f"{stage.steps} steps"
    teachers = recipe.stage_teachers(stage) if method_named(stage.method, "").learns_from_teachers else []
    names = [teacher if isinstance(teacher, str) else teacher.model for teacher in teachers]
    taught = f" from {' + '.join(names)}" if names else ""
    task = f" on {stage.task}" if stage.task not in (None, recipe.task) else ""
    early = " at most" if stage.stop else ""
    return f"{stage.method}{task} {recipe.stage_student(stage).model}{taught}, {length}{early}"


def _export_detail(export: ExportSpec) -> str:
    """Whether a bundle needs it, what it is calibrated on or built for, and what may overrule its gates."""
    parts = ["required" if export.required else "optional"]
    if export.quantization == "static":
        wanted = export.calibration or Calibration()
        parts.append(f"calibrated on {wanted.samples:,} samples of {wanted.split} ({wanted.method})")
    if export.quantization is not None and export.scheme != "auto":
        parts.append(f"scheme {export.scheme}")
    if export.gpus:
        parts.append(f"for {', '.join(export.gpus)}")
    if export.override is not None:
        parts.append(f"ships even if a gate fails: {export.override}")
    return "; ".join(parts)


def _stage_action(folder: Path) -> tuple[Action, str]:
    if (folder / DONE).is_file():
        return "reuse", "trained before with the same settings, data, weights, versions and source"
    if (folder / CHECKPOINT).is_file():
        return "resume", "a checkpoint of an interrupted run is there"
    return "run", ""


def _bench_problem() -> str:
    try:
        with needs_extra("bench"):
            import mlperf_loadgen  # noqa: F401  # only whether it is there
    except CompactorError as error:
        return str(error)
    return ""
