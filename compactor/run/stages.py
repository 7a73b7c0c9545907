"""Train one stage of a recipe, or take it from the cache, and hand its model folder on."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from compactor.evaluation import select_accuracy
from compactor.locate import locate
from compactor.methods import method_named, parse_options
from compactor.models.build import build_model, load_model_folder, load_weights, save_model
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe import STAGE, LoadedRecipe, ModelSpec, StageSpec
from compactor.records import DataInfo
from compactor.run.folder import DONE
from compactor.run.journal import Journal
from compactor.tasks import task_named
from compactor.teachers import Teachers
from compactor.trainer.fit import CHECKPOINT, fit
from compactor.trainer.processes import is_main_process, wait_for_all

STUDENT = "student"


def train_stage(
    loaded: LoadedRecipe,
    stage: StageSpec,
    folder: Path,
    *,
    digest: str,
    done: Mapping[str, Path],
    reporter: Reporter,
    journal: Journal,
) -> Path:
    """Train a stage into `folder` and return its model folder.

    Args:
        loaded: the recipe.
        stage: the stage.
        folder: the stage's own folder; an interrupted training goes on from there.
        digest: the stage's cache key, kept with the result.
        done: model folders of earlier stages by id.
        reporter: where progress goes.
        journal: where events go.

    Raises:
        InterruptedRun: the user stopped it; the checkpoint is kept.
        UsageError: data, weights or settings that cannot be used.
    """
    recipe = loaded.recipe
    folder.mkdir(parents=True, exist_ok=True)
    task = task_named(recipe.task)
    data = task.open(recipe.stage_data(stage), base=loaded.base)
    seed = recipe.seed if stage.seed is None else stage.seed
    spec = recipe.stage_student(stage)
    student = build_model(spec, data.info, base=loaded.base, seed=seed)
    if stage.init is not None:
        load_weights(student.backbone, _init_file(stage.init, loaded.base, done))
    method = method_named(stage.method, f"stage {stage.id}")
    teachers = None
    if method.learns_from_teachers:
        teachers = Teachers(
            [
                open_teacher(reference, data.info, loaded.base, done)
                for reference in recipe.stage_teachers(stage)
            ]
        )
    result = fit(
        student,
        method.build(parse_options(method, stage.options, f"stage {stage.id}")),
        lambda rank, world: task.loader(data.train, stage, seed=seed, rank=rank, world=world),
        stage=stage,
        seed=seed,
        folder=folder,
        teachers=teachers,
        in_order=lambda: task.batches(data.train),
        evaluate=select_accuracy(task, data.select),
        reporter=reporter,
        journal=journal,
    )
    if is_main_process():
        save_model(student, spec, folder / STUDENT)
        record = {
            "digest": digest,
            "steps": result.steps,
            "seconds": result.seconds,
            "history": result.history,
        }
        temporary = folder / f"{DONE}.tmp"
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        temporary.replace(folder / DONE)
        (folder / CHECKPOINT).unlink(
            missing_ok=True
        )  # the student is saved; optimiser state would only take space
        accuracy = result.history[-1].get("select_accuracy", float("nan"))
        reporter.note(
            f"{stage.id}: {result.steps} steps in {result.seconds:.1f} s, select accuracy {accuracy:.4f}"
        )
        journal.write(
            "stage", id=stage.id, digest=digest, steps=result.steps, seconds=round(result.seconds, 3)
        )
    wait_for_all()  # the next stage reads what the main process has just written
    return folder / STUDENT


def open_teacher(reference: ModelSpec | str, info: DataInfo, base: Path, done: Mapping[str, Path]) -> Student:
    """Open a teacher: the student of an earlier stage, or a model with weights."""
    if isinstance(reference, str):
        return load_model_folder(done[reference.removeprefix(STAGE)])
    return build_model(reference, info, base=base).eval()


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
        return done[init.removeprefix(STAGE)] / "model.safetensors"
    return locate(init, base, what="init")
