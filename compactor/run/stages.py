"""Train one stage of a recipe, or take it from the cache, and hand its model folder on."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import msgspec

from compactor.evaluation import select_figures
from compactor.locate import locate
from compactor.methods import method_named, parse_options
from compactor.models.build import build_model, load_model_folder, load_weights, save_model
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe import STAGE, LoadedRecipe, ModelSpec, StageSpec
from compactor.records import DataInfo
from compactor.run.data import DataSets
from compactor.run.folder import CHECKPOINT, DONE, WEIGHTS, only_one
from compactor.run.journal import Journal
from compactor.tasks import task_named
from compactor.teachers import Teachers
from compactor.trainer.fit import FitResult, fit
from compactor.trainer.processes import is_main_process, wait_for_all
from compactor_runtimes.errors import UsageError

STUDENT = "student"


def train_stage(
    loaded: LoadedRecipe,
    stage: StageSpec,
    folder: Path,
    *,
    digest: str,
    done: Mapping[str, Path],
    data: DataSets,
    reporter: Reporter,
    journal: Journal,
    deadline_s: float | None = None,
) -> Path:
    """Train a stage into `folder` and return its model folder.

    Args:
        loaded: the recipe.
        stage: the stage.
        folder: the stage's own folder; an interrupted training goes on from there.
        digest: the stage's cache key, kept with the result.
        done: model folders of earlier stages by id.
        data: the recipe's data sets.
        reporter: where progress goes.
        journal: where events go.
        deadline_s: time of `time.monotonic()` at which training stops as if the user had asked.

    Raises:
        InterruptedRun: the user or the deadline stopped it; the checkpoint is kept.
        UsageError: data, weights or settings that cannot be used, or another process trains this stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder) if is_main_process() else nullcontext():
        recipe, task = loaded.recipe, task_named(loaded.recipe.task)
        opened = data.open(recipe.stage_data(stage))
        seed = recipe.seed if stage.seed is None else stage.seed
        spec = recipe.stage_student(stage)
        student = build_model(spec, opened.info, base=loaded.base, seed=seed)
        if stage.init is not None:
            load_weights(student.backbone, _init_file(stage.init, loaded.base, done))
        method = method_named(stage.method, f"stage {stage.id}")
        teachers = None
        if method.learns_from_teachers:
            references = recipe.stage_teachers(stage)
            teachers = Teachers([open_teacher(one, opened.info, loaded.base, done) for one in references])
        result = fit(
            student,
            method.build(parse_options(method, stage.options, f"stage {stage.id}")),
            lambda rank, world: task.loader(opened.train, stage, seed=seed, rank=rank, world=world),
            stage=stage,
            seed=seed,
            folder=folder,
            teachers=teachers,
            in_order=lambda: task.batches(opened.train),
            evaluate=select_figures(task, opened.select, teachers),
            reporter=reporter,
            journal=journal,
            deadline_s=deadline_s,
        )
        if is_main_process():
            save_model(student, spec, folder / STUDENT)
            _conclude(folder, digest, result)
            shown = [
                f", {name.replace('_', ' ')} {value:.4f}"
                for name, value in result.history[-1].items()
                if name.startswith("select_")
            ]
            reporter.note(f"{stage.id}: {result.steps} steps in {result.seconds:.1f} s{''.join(shown)}")
            journal.write(
                "stage", id=stage.id, digest=digest, steps=result.steps, seconds=round(result.seconds, 3)
            )
    wait_for_all()  # the next stage reads what the main process has just written
    return folder / STUDENT


def _conclude(folder: Path, digest: str, result: FitResult) -> None:
    """Mark a stage as trained; its student is saved, so that the optimiser's state would only take space."""
    record = {"digest": digest, "steps": result.steps, "seconds": result.seconds, "history": result.history}
    temporary = folder / f"{DONE}.tmp"
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    temporary.replace(folder / DONE)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def open_teacher(reference: ModelSpec | str, info: DataInfo, base: Path, done: Mapping[str, Path]) -> Student:
    """Open a teacher: the student of an earlier stage, or a model with weights."""
    if isinstance(reference, str):
        return load_model_folder(done[reference.removeprefix(STAGE)])
    model = build_model(reference, info, base=base).eval()
    if model.untrained:
        raise UsageError(
            f"teacher {reference.model}: its weights hold no {', '.join(model.untrained[:2])}, so these are "
            "random; train it in a stage of its own and name that stage as the teacher"
        )
    return model


def describe_teacher(reference: ModelSpec | str) -> str:
    """A teacher's name for tables."""
    return reference.removeprefix(STAGE) if isinstance(reference, str) else reference.model


def teacher_provenance(reference: ModelSpec | str, digests: Mapping[str, str]) -> dict[str, object]:
    """What the manifest says of a teacher: its recipe entry, or the stage and its cache key."""
    if isinstance(reference, str):
        return {"stage": reference.removeprefix(STAGE), "digest": digests[reference.removeprefix(STAGE)]}
    plain: dict[str, object] = msgspec.to_builtins(reference)
    return plain


def _init_file(init: str, base: Path, done: Mapping[str, Path]) -> Path:
    if init.startswith(STAGE):
        return done[init.removeprefix(STAGE)] / WEIGHTS
    return locate(init, base, what="init")
