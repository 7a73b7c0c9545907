"""What no type of a recipe can say: ids, schedules, augmentation, tasks, rejects, pools, and whose tokenizer.

How a stage learns, and from whom, is `method_checks.py`.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from compactor.data.spec import DataSpec, MaskingSpec
from compactor.models import TEACH_ONLY
from compactor.recipe.method_checks import check_method, check_runtime, check_teacher
from compactor.recipe.spec import STAGE, ModelSpec, Recipe, StageSpec
from compactor.records import (
    GAMMA,
    MASKED,
    head_at,
    heads_of,
    reads_images,
)
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

if TYPE_CHECKING:
    pass

TOKENIZER_FAMILIES = ("hf", "package")


def check_references(recipe: Recipe) -> None:
    """Check ids, references to earlier stages, methods and their options.

    Raises:
        UsageError: the first contradiction.
    """
    from compactor.tasks import TASKS

    if recipe.task not in TASKS:
        raise UsageError(f"recipe task: got {recipe.task!r}; {nearest(recipe.task, TASKS)}")
    _check_whole(recipe)
    _check_reject(recipe)
    _check_pool(recipe)
    tasks = {stage.id: recipe.stage_task(stage) for stage in recipe.stages}
    seen: list[str] = []
    for index, stage in enumerate(recipe.stages):
        at = f"recipe stages.{index}"
        if stage.id in seen:
            raise UsageError(f"{at}.id: {stage.id!r} is used twice; every stage needs its own id")
        if (stage.epochs is None) == (stage.steps is None):
            found = "both" if stage.epochs else "neither"
            raise UsageError(f"{at}: give either epochs or steps (found {found})")
        if stage.student is None and recipe.student is None:
            raise UsageError(
                f"{at}.student: there is none; name one for the stage or at the top of the recipe"
            )
        if stage.undecayed is not msgspec.UNSET and not stage.weight_decay:
            warnings.warn(f"{at}.undecayed has no effect where weight_decay is 0; remove it", stacklevel=2)
        if stage.nesterov and (stage.optimizer != "sgd" or stage.momentum == 0):
            raise UsageError(f"{at}.nesterov: needs optimizer sgd with momentum > 0")
        _check_student(stage.student, f"{at}.student")
        _check_schedule(stage, at)
        _check_augment(recipe, stage, at)
        _check_task(recipe, stage, at, tasks)
        check_method(recipe, stage, at, seen)
        seen.append(stage.id)


def _check_schedule(stage: StageSpec, at: str) -> None:
    """Check that milestones are there for the schedule that has them, in order and within the stage."""
    found = stage.milestones
    if stage.schedule != "step":
        if found or stage.gamma != GAMMA:
            raise UsageError(
                f"{at}: milestones and gamma have no effect with schedule {stage.schedule}; remove them, or "
                "set schedule: step"
            )
    elif not found or sorted(set(found)) != found:
        raise UsageError(f"{at}.milestones: {found} found, expected ascending epochs, such as [60, 80]")
    elif stage.epochs is not None and found[-1] >= stage.epochs:
        raise UsageError(
            f"{at}.milestones: {found[-1]} found, but the stage ends after {stage.epochs} epochs; lower it"
        )


def _check_augment(recipe: Recipe, stage: StageSpec, at: str) -> None:
    """Check that a policy has images to change, and that no stored label is of the view before it."""
    if stage.augment.is_recorded_by_box:
        return
    found = f"policy {stage.augment.policy} and erase {stage.augment.erase:g} found"
    if not reads_images(recipe.stage_task(stage)):
        raise UsageError(f"{at}.augment: {found}, but the task has no images; remove them")
    if stage.labels is not None:
        raise UsageError(
            f"{at}.augment: {found}, but a label store replays recorded crops, and its labels would be of "
            "other views; remove them, or remove labels to learn from live teachers"
        )


def _check_task(recipe: Recipe, stage: StageSpec, at: str, tasks: dict[str, str]) -> None:
    """Check a stage's task (known, of the recipe's kind of data, as its teachers') and its masking."""
    from compactor.tasks import TASKS

    task = recipe.stage_task(stage)
    if task not in TASKS:
        raise UsageError(f"{at}.task: got {task!r}; {nearest(task, TASKS)}")
    if reads_images(task) != reads_images(recipe.task):
        raise UsageError(
            f"{at}.task: {task!r} and the recipe's {recipe.task!r} read different kinds of data, expected "
            "texts or images for both; name another task"
        )
    if stage is recipe.stages[-1] and task != recipe.task:
        raise UsageError(
            f"{at}.task: {task!r} found, but what the last stage trains is shipped for task {recipe.task!r}; "
            "add a stage of that task after it"
        )
    for teacher in recipe.stage_teachers(stage):
        other = tasks.get(teacher.removeprefix(STAGE)) if isinstance(teacher, str) else None
        if other not in (None, task) and _is_taught(recipe, stage):
            raise UsageError(
                f"{at}.teachers: {teacher!r} was trained for {other}, the stage is for {task}; name a stage "
                "of the same task"
            )
    masking = stage.masking
    if head_at(heads_of(task), "token") is None and masking != MaskingSpec():
        raise UsageError(f"{at}.masking: has no effect on task {task}; remove it, or set task: {MASKED}")
    if masking.keep + masking.random > 1:
        raise UsageError(
            f"{at}.masking: keep {masking.keep} and random {masking.random} make more than 1; lower one"
        )


def _is_taught(recipe: Recipe, stage: StageSpec) -> bool:
    """Whether the stage's method learns from the teachers that it could have."""
    from compactor.methods import method_named

    return method_named(stage.method, f"stage {stage.id}").learns_from_teachers


def _check_whole(recipe: Recipe) -> None:
    """Check what concerns the recipe as a whole."""
    _check_student(recipe.student, "recipe student")
    heads = heads_of(recipe.task)
    if head_at(heads, "token") is not None:
        raise UsageError(
            f"recipe task: {recipe.task} trains encoders and ships nothing; give the task of the model to "
            f"ship here, and task: {recipe.task} to the stages that train its encoder"
        )
    if not recipe.stages and (recipe.student is None or recipe.student.weights is None):
        raise UsageError(
            "recipe stages: there are none, so student.weights must name the trained student's weights; "
            "add a stage to train one"
        )
    if heads[0].activation == "none" and recipe.gates.student_vs_teacher.max_drop_points is not None:
        raise UsageError(
            "recipe gates.student_vs_teacher: embeddings have no accuracy to lose points of; remove the gate"
        )
    for teacher in recipe.teachers if not recipe.stages else []:
        check_teacher(teacher, "recipe teachers", [], teaches=False)
    names = [spec.name for spec in recipe.export]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"recipe export: {name!r} is listed twice; each needs its own format and precision"
            )


def _check_reject(recipe: Recipe) -> None:
    """Check that answers are classes, and that one rule says which of them are rejected."""
    reject, head = recipe.reject, heads_of(recipe.task)[0]
    if reject is None:
        return
    if (head.level, head.activation) != ("sample", "softmax"):
        raise UsageError(
            f"recipe reject: task {recipe.task} answers with no single class of a sample, whose confidence "
            "could be too low; remove it"
        )
    if (reject.out_of_scope is None) == (reject.keep is None):
        found = "both" if reject.keep else "neither"
        raise UsageError(
            f"recipe reject: give either out_of_scope, a class of the data, or keep, a share (found {found})"
        )
    if reject.keep is not None and reject.max_drop_points is not None:
        raise UsageError(
            "recipe reject.max_drop_points: has no effect with keep, which says what is lost; remove one"
        )


def _check_pool(recipe: Recipe) -> None:
    """Check who scores the images of a pool, and that every setting of what is taken has an effect."""
    pool, head = recipe.pool, heads_of(recipe.task)[0]
    if pool is None:
        return
    at, take = "recipe pool", pool.take
    if not reads_images(recipe.task) or (head.level, head.activation) != ("sample", "softmax"):
        raise UsageError(
            f"{at}: images are ranked within the one class that teachers give them, task {recipe.task} "
            "answers otherwise; remove it, and name the images in data.also as they are"
        )
    if not recipe.pool_teachers:
        raise UsageError(f"{at}.teachers: nobody scores the images; name a teacher here or at the top")
    for teacher in recipe.pool_teachers:
        check_teacher(teacher, f"{at}.teachers", [stage.id for stage in recipe.stages], teaches=False)
    if (take.min_confidence is None) == (take.by == "confidence"):
        what = "absent" if take.min_confidence is None else "has no effect by " + take.by
        raise UsageError(f"{at}.take.min_confidence: {what}; give it with by: confidence alone, such as 0.8")
    if take.by == "all" and take.top is not None:
        raise UsageError(f"{at}.take.top: has no effect by all; remove it, or take by score")
    if take.by != "score" and take.classes_per_image != 1:
        raise UsageError(f"{at}.take.classes_per_image: has no effect by {take.by}; remove it")
    if take.classes_per_image > pool.k:
        raise UsageError(
            f"{at}.take.classes_per_image: {take.classes_per_image} found, but scores of {pool.k} classes of "
            "an image are kept; set pool.k to as many"
        )


def _check_student(student: ModelSpec | None, at: str) -> None:
    """Check that a student, if there is one, can learn and takes images as they come."""
    if student is not None:
        check_runtime(student, at, teaches=False)
    if student is not None and student.family in TEACH_ONLY:
        raise UsageError(
            f"{at}: {student.model} is an exported model, which cannot learn; name it under teachers, and a "
            "model with trainable weights here"
        )
    if student is not None and student.image_size is not None:
        raise UsageError(
            f"{at}.image_size: only teachers resize their images; remove it, and set data.image_size instead"
        )


def with_tokenizers(recipe: Recipe) -> Recipe:
    """Write the tokenizer of every text data set out: the student's own, else the first teacher's with one.

    The data of a stage whose models bring none, and how its vocabulary is trimmed, are read as the recipe's.

    Raises:
        UsageError: no model brings one.
    """
    if reads_images(recipe.task):
        return recipe

    def filled(data: DataSpec, models: Sequence[ModelSpec | str | None], at: str) -> DataSpec:
        if data.tokenizer is not None:
            return data
        for model in models:
            if isinstance(model, ModelSpec) and model.family in TOKENIZER_FAMILIES:
                return msgspec.structs.replace(data, tokenizer=model.model)
        raise UsageError(
            f"recipe {at}.tokenizer: absent, and neither student nor teachers bring one; name a "
            "tokenizer.json, or a model (hf:, package:) that has one"
        )

    def of_stage(stage: StageSpec, index: int) -> DataSpec | None:
        if stage.data is None:
            return None
        models = [recipe.stage_student(stage), *recipe.stage_teachers(stage)]
        brings = any(isinstance(one, ModelSpec) and one.family in TOKENIZER_FAMILIES for one in models)
        if stage.data.tokenizer is None and not brings:
            found = msgspec.structs.replace(stage.data, tokenizer=data.tokenizer)
        else:
            found = filled(stage.data, models, f"stages.{index}.data")
        if found.vocabulary is None and found.tokenizer == data.tokenizer:
            found = msgspec.structs.replace(found, vocabulary=data.vocabulary)
        return found

    every = [recipe.student, *(stage.student for stage in recipe.stages), *recipe.teachers]
    data = filled(recipe.data, every, "data")
    stages = [
        msgspec.structs.replace(stage, data=of_stage(stage, index))
        for index, stage in enumerate(recipe.stages)
    ]
    return msgspec.structs.replace(recipe, data=data, stages=stages)
