"""What a run would do: which stages run, go on, are reused, or cannot run here, and why."""

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from compactor.locate import locate, locate_model
from compactor.methods import METHODS, method_named
from compactor.models import FAMILIES, WRAPPERS
from compactor.progress import SilentReporter
from compactor.recipe import STAGE, LoadedRecipe, ModelSpec, StageSpec
from compactor.run.data import DataSets
from compactor.run.digest import TOOLS, digest_of, file_digest, source_digest, tool_versions
from compactor.run.folder import CHECKPOINT, CONFIG, DONE, WEIGHTS, RunFolders
from compactor.tasks import TASKS
from compactor_exporters import can_export
from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError, needs_extra

ALWAYS = ("compactor.trainer.fit", "compactor.models.build")

Action = Literal["run", "resume", "reuse", "cannot"]


class PlanStep(Struct, frozen=True, kw_only=True):
    """One step: what it is, what will happen and why; `digest` is the cache key of a training stage."""

    id: str
    kind: Literal["train", "export", "verify", "measure", "bundle"]
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

    def require_runnable(self) -> None:
        """Refuse to start what cannot end.

        Raises:
            UnfitEnvironmentError: a required step cannot run here.
        """
        for step in self.steps:
            if step.action == "cannot" and "optional" not in step.detail:
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
    data = data or DataSets(loaded, SilentReporter())
    if not recipe.stages:  # what a stage would have checked
        assert recipe.student is not None
        data.open(recipe.data)
        _model_digest(recipe.student, loaded.base)
    for stage in recipe.stages:
        detail = _stage_detail(loaded, stage)
        try:
            opened = data.open(recipe.stage_data(stage))
            digests[stage.id] = stage_digest(loaded, stage, opened.digest, digests)
        except UnfitEnvironmentError as error:
            steps.append(
                PlanStep(id=stage.id, kind="train", action="cannot", reason=str(error), detail=detail)
            )
            continue
        action, reason = _stage_action(folders.stage(stage.id, digests[stage.id]))
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
        detail = "required" if export.required else "optional"
        steps.append(
            PlanStep(
                id=export.name,
                kind="export",
                action="cannot" if problem else "run",
                reason=problem or "",
                detail=detail,
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


def stage_digest(loaded: LoadedRecipe, stage: StageSpec, data: str, earlier: dict[str, str]) -> str:
    """Cache key of a stage; an earlier stage that it refers to enters by its own key.

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
    sources = [*ALWAYS, TASKS[recipe.task], WRAPPERS[recipe.task], METHODS[stage.method], *method.sources]
    sources += [target for spec in models for target in _model_sources(spec)]
    return digest_of(
        {
            "stage": msgspec.to_builtins(stage) | {"student": None, "teachers": None, "data": None},
            "seed": recipe.seed,
            "task": recipe.task,
            "data": data,
            "student": _model_digest(recipe.stage_student(stage), loaded.base),
            "init": _reference_digest(stage.init, loaded.base, earlier),
            "teachers": [_reference_digest(teacher, loaded.base, earlier) for teacher in teachers],
            "versions": tool_versions(TOOLS),
            "source": source_digest(sources),
        }
    )


def _model_sources(spec: ModelSpec) -> list[str]:
    family, _, name = spec.model.partition(":")
    if family not in FAMILIES:
        raise UsageError(f"model {spec.model!r}: expected FAMILY:NAME with a family of {', '.join(FAMILIES)}")
    return [FAMILIES[family], *([name] if family == "module" else [])]


def _model_digest(spec: ModelSpec, base: Path) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    if spec.weights not in (None, "pretrained"):
        assert spec.weights is not None
        plain["weights"] = file_digest(locate(spec.weights, base, what=f"weights of {spec.model}"))
    if spec.model.partition(":")[0] in ("hf", "package"):
        folder = locate_model(spec.model, base)  # a local folder may change under the same name
        names = (CONFIG, WEIGHTS) if spec.weights == "pretrained" else (CONFIG,)
        files = [folder / name for name in names] if folder else []
        plain["folder"] = [file_digest(path) for path in files if path.is_file()]
    return plain


def _reference_digest(reference: ModelSpec | str | None, base: Path, earlier: dict[str, str]) -> Any:
    if isinstance(reference, ModelSpec):
        return _model_digest(reference, base)
    if reference is None:
        return None
    if reference.startswith(STAGE):
        stage = reference.removeprefix(STAGE)
        if stage not in earlier:
            raise UnfitEnvironmentError(f"it builds on stage {stage!r}, which cannot run here")
        return earlier[stage]
    return file_digest(locate(reference, base, what="init"))


def _stage_detail(loaded: LoadedRecipe, stage: StageSpec) -> str:
    recipe = loaded.recipe
    length = f"{stage.epochs} epochs" if stage.epochs else f"{stage.steps} steps"
    teachers = recipe.stage_teachers(stage) if method_named(stage.method, "").learns_from_teachers else []
    names = [teacher if isinstance(teacher, str) else teacher.model for teacher in teachers]
    taught = f" from {' + '.join(names)}" if names else ""
    return f"{stage.method} {recipe.stage_student(stage).model}{taught}, {length}"


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
