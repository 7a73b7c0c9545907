"""Who teaches a stage: its teachers opened for its data, its mixer fitted, its student's first weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compactor.methods import classes_asked_of_teachers
from compactor.mixers import stage_mixer
from compactor.models.build import load_encoder, load_weights, saved_classes
from compactor.models.class_rows import load_by_class
from compactor.models.stated_classes import has_classes_of_a_sample
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.spec import STAGE, Recipe
from compactor.records import DataInfo
from compactor.run.planned import PlannedStage
from compactor.tasks import task_named
from compactor.teachers import Teachers, describe_teacher, group_of, open_teacher
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import counted
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    import torch


def open_teachers(stage: PlannedStage, base: Path, done: Mapping[str, Path]) -> Teachers:
    """Open all teachers that a stage learns from, with its mixer.

    Raises:
        UsageError: one knows other classes than it has to, or has not what the mixer reads.
    """
    at = f"stage {stage.id}"
    asked = classes_asked_of_teachers(stage.spec, at)
    models = [open_teacher(one, stage.data.info, base, done, asked) for one in stage.teachers]
    return Teachers(models, stage_mixer(stage.spec, at).build())


def fit_mixer(stage: PlannedStage, teachers: Teachers, reporter: Reporter) -> list[str]:
    """Let the stage's mixer learn from labelled rows, if it does; return what is to be said.

    Raises:
        UsageError: it cannot learn from them.
    """
    if not stage_mixer(stage.spec, f"stage {stage.id}").is_fitted:
        return []
    task, data = task_named(stage.task), stage.data
    teachers.to(own_device())
    with (
        reporter.bar(f"fit the mixer of {stage.id}", len(data.train)) as bar,
        reporter.bar(f"judge the mixer of {stage.id}", len(data.select)) as judged,
    ):
        teachers.fit(
            data.info,
            counted(task.each_once(data.train), bar),
            counted(iter(task.batches(data.select)), judged),
        )
    said = teachers.mixer.told([describe_teacher(one) for one in stage.teachers])
    return [f"{stage.id}: {note}" for note in said]


def require_fixed_answers(preset: Preset, stage: PlannedStage) -> None:
    """Refuse to fit a mixer to other answers than those that teach.

    Raises:
        UsageError: the teachers' BatchNorm normalises by the batch while they teach.
    """
    at = f"stage {stage.id}"
    if preset.teacher_bn == "batch" and stage_mixer(stage.spec, at).is_fitted:
        raise UsageError(
            f"{at}.mixer: is fitted to what teachers say by running statistics, but they teach by those of "
            "each batch; set options.teacher_bn: eval, or remove the mixer"
        )


def own_device() -> "torch.device":
    """The device of this process: each process of a node has a GPU of its own."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def know_all(teachers: Teachers | None, info: DataInfo) -> bool:
    """Whether what the teachers say together is of all the data's classes."""
    return (
        teachers is None
        or teachers.mixer.has_heads
        or not any(group_of(one, info) for one in teachers.models)
    )


def start_student(student: Student, init: str, file: Path, recipe: Recipe, task: str) -> str:
    """Give a student the weights that its stage starts from.

    Args:
        student: of the stage.
        init: the stage's.
        file: the weights that it names.
        recipe: has the stage that they may come from.
        task: of the student.

    Returns:
        What is to be said of its classes, empty where they are the data's in their order.

    Raises:
        UsageError: the weights do not fit.
    """
    if _task_of(init, recipe) not in (None, task):
        load_encoder(student.backbone, file)  # trained for something else: its heads are of no use here
        return ""
    if init.startswith(STAGE) and has_classes_of_a_sample(student.info):
        head = student.info.heads[0].name
        theirs = saved_classes(file.parent)[head]
        if theirs != student.info.classes[head]:
            return f"student: {load_by_class(student, file, theirs, source=init)}"
    load_weights(student.backbone, file)
    return ""


def _task_of(init: str, recipe: Recipe) -> str | None:
    """The task that a stage's init was trained for; None for a weights file, which must fit as a whole."""
    stages = {f"{STAGE}{stage.id}": stage for stage in recipe.stages}
    return recipe.stage_task(stages[init]) if init in stages else None
