"""The record of a plan: what each stage trains on and from, under which key, and what will happen to it.

It is made once, by `plan.py`; `steps` is its form for people and JSON, and nothing is decided by its texts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from compactor.cache.folder import RunFolders
from compactor.label_store.header import UNFINISHED_FILE
from compactor.methods import method_named
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import ModelSpec, StageSpec
from compactor.run.labels import LabelJob
from compactor_runtimes.bundle.manifest import Calibration, ExportSpec
from compactor_runtimes.errors import UnfitEnvironmentError

if TYPE_CHECKING:
    from compactor.data.splits import Dataset

Action = Literal["run", "resume", "reuse", "cannot"]


class PlanStep(Struct, frozen=True, kw_only=True):
    """One step for people: what it is, what will happen, why; the labels of a stage have its id."""

    id: str
    kind: Literal["label", "train", "export", "verify", "measure", "bundle"]
    action: Action
    reason: str = ""
    digest: str = ""
    detail: str = ""


@dataclass(frozen=True)
class PlannedStage:
    """A stage that can run here.

    `teachers` are those that it learns from, none where its method learns from nobody; `labels` is the store
    that takes their place; `computes` are the modules whose code decides what comes out; `digest` is its
    cache key and `folder` where it lies once it is trained, among the recipe's `folders`.
    """

    spec: StageSpec
    task: str
    student: ModelSpec
    teachers: tuple[ModelSpec | str, ...]
    data: "Dataset"
    labels: LabelJob | None
    computes: tuple[str, ...]
    digest: str
    folder: Path
    folders: RunFolders
    action: Action
    why: str

    @property
    def id(self) -> str:
        """The stage's id in the recipe."""
        return self.spec.id


@dataclass(frozen=True)
class PlannedExport:
    """One artifact to make; `problem` says why it cannot be made here, empty if it can."""

    spec: ExportSpec
    problem: str


@dataclass(frozen=True)
class Plan:
    """All of a run. `blocked` are the stages that cannot run here, with the reason, by id.

    `data` is what the finished student is judged on and `judges` are the teachers that it is compared with.
    `notes` say how the inputs are read: what was left out, which classes are whose.
    """

    loaded: LoadedRecipe
    root: Path
    stages: list[PlannedStage]
    blocked: dict[str, str]
    exports: list[PlannedExport]
    data: "Dataset | None"
    judges: tuple[ModelSpec | str, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.loaded.recipe.name

    @property
    def digests(self) -> dict[str, str]:
        """Cache key of every training stage."""
        return {stage.id: stage.digest for stage in self.stages}

    @property
    def labels(self) -> dict[str, str]:
        """Cache key of every label store, by the stage that learns from it."""
        return {stage.id: stage.labels.digest for stage in self.stages if stage.labels is not None}

    @property
    def steps(self) -> list[PlanStep]:
        """The plan for people, in order."""
        planned = {stage.id: stage for stage in self.stages}
        steps: list[PlanStep] = []
        for spec in self.loaded.recipe.stages:
            if spec.id in planned:
                steps += _stage_steps(self.loaded, planned[spec.id])
            else:
                steps.append(
                    PlanStep(
                        id=spec.id,
                        kind="train",
                        action="cannot",
                        reason=self.blocked[spec.id],
                        detail=_stage_detail(self.loaded, spec),
                    )
                )
        steps += [
            PlanStep(
                id=one.spec.name,
                kind="export",
                action="cannot" if one.problem else "run",
                reason=one.problem,
                detail=_export_detail(one.spec),
            )
            for one in self.exports
        ]
        wanted = self.loaded.recipe.measure
        measure = PlanStep(
            id="measure",
            kind="measure",
            action="run",
            detail=f"{', '.join(wanted.scenarios) or 'nothing is timed'}; profile {wanted.profile}",
        )
        return [*steps, measure, PlanStep(id="bundle", kind="bundle", action="run")]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        steps = msgspec.to_builtins(self.steps)
        return {"name": self.name, "root": str(self.root), "steps": steps, "notes": list(self.notes)}

    def require_stages(self) -> None:
        """Refuse to go on without all stages.

        Raises:
            UnfitEnvironmentError: one cannot run here.
        """
        for name, reason in self.blocked.items():
            raise UnfitEnvironmentError(f"train {name}: cannot run here: {reason}")

    def require_runnable(self) -> None:
        """Refuse to start what cannot end.

        Raises:
            UnfitEnvironmentError: a stage or a required export cannot run here.
        """
        self.require_stages()
        for one in self.exports:
            if one.problem and one.spec.required:
                raise UnfitEnvironmentError(f"export {one.spec.name}: cannot run here: {one.problem}")


def _stage_steps(loaded: LoadedRecipe, stage: PlannedStage) -> list[PlanStep]:
    """The stage's labels, if it has any, and its training."""
    training = PlanStep(
        id=stage.id,
        kind="train",
        action=stage.action,
        reason=stage.why,
        digest=stage.digest,
        detail=_stage_detail(loaded, stage.spec),
    )
    return [training] if stage.labels is None else [_label_step(stage.labels), training]


def _label_step(job: LabelJob) -> PlanStep:
    action: Action = "run"
    reason = ""
    if job.is_made:
        action, reason = "reuse", "made before by the same teachers of the same data"
        reason = "named by the recipe" if job.is_given else reason
    elif (job.folder / UNFINISHED_FILE).is_file():
        action, reason = "resume", "finished shards of an interrupted run are there"
    return PlanStep(
        id=job.stage.id, kind="label", action=action, reason=reason, digest=job.digest, detail=job.describe()
    )


def _stage_detail(loaded: LoadedRecipe, stage: StageSpec) -> str:
    recipe = loaded.recipe
    length = f"{stage.epochs} epochs" if stage.epochs else f"{stage.steps} steps"
    teachers = recipe.stage_teachers(stage) if method_named(stage.method, "").learns_from_teachers else []
    names = [_named(teacher) for teacher in teachers]
    taught = f" from {' + '.join(names)}" if names else ""
    task = f" on {stage.task}" if stage.task not in (None, recipe.task) else ""
    early = " at most" if stage.stop else ""
    return f"{stage.method}{task} {recipe.stage_student(stage).model}{taught}, {length}{early}"


def _named(teacher: ModelSpec | str) -> str:
    """A teacher, and what computes its answers where that is not torch as it loads it."""
    if isinstance(teacher, str):
        return teacher
    return f"{teacher.model} on {teacher.runtime}" if teacher.is_moved else teacher.model


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
