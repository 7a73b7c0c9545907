"""What no type of a recipe can say: references to earlier stages, methods, options, and whose tokenizer."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from compactor.data.spec import DataSpec, MaskingSpec
from compactor.models import TEACH_ONLY
from compactor.recipe.spec import STAGE, LabelsSpec, ModelSpec, Recipe, StageSpec
from compactor.records import (
    EMBEDDING,
    GAMMA,
    MASKED,
    Activation,
    has_several,
    head_at,
    heads_of,
    reads_images,
)
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

if TYPE_CHECKING:
    from compactor.methods import Method

TOKENIZER_FAMILIES = ("hf", "package")
COMPARED: dict[Activation, str] = {"softmax": "classes", "sigmoid": "any number of labels", "none": EMBEDDING}


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
        _check_method(recipe, stage, at, seen)
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
        _check_teacher(teacher, "recipe teachers", [])
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
        _check_teacher(teacher, f"{at}.teachers", [stage.id for stage in recipe.stages])
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


def _check_method(recipe: Recipe, stage: StageSpec, at: str, earlier: list[str]) -> None:
    """Check a stage's method, its options, and whom it learns from and starts from."""
    from compactor.methods import method_named, require_mixable, stage_options

    method = method_named(stage.method, at)
    options = stage_options(method, stage, at)
    task = recipe.stage_task(stage)
    activations = {head.activation for head in heads_of(task)}
    if not activations <= method.activations:
        found = " and ".join(sorted(COMPARED[one] for one in activations))
        able = " or ".join(what for one, what in COMPARED.items() if one in method.activations)
        raise UsageError(
            f"{at}.method: {stage.method!r} compares {able}, task {task} answers with "
            f"{found}; use method embedding for task embedding, kd or supervised otherwise"
        )
    if has_several(task):
        _check_several(stage, task, options, at)
    if getattr(options, "cutmix", False) and not reads_images(task):
        raise UsageError(f"{at}.options.cutmix: only images mix, the task is {task}; remove it")
    if getattr(options, "record_forgetting", False) and not _has_single_class(task):
        raise UsageError(
            f"{at}.options.record_forgetting: a sample is forgotten when its one class is answered wrongly, "
            f"task {task} has no single class of a sample; remove it"
        )
    _check_sampler(recipe, stage, method, at, earlier)
    _check_peer(recipe, stage, options, at)
    _check_labels(stage, task, method, options, at)
    if recipe.stage_data(stage).also:
        require_mixable(stage, options, at)
    teachers = recipe.stage_teachers(stage)
    has_store = stage.labels is not None and stage.labels.store is not None
    if method.learns_from_teachers and not teachers and not has_store:
        raise UsageError(
            f"{at}.teachers: method {stage.method!r} needs at least one; name them here or at the top"
        )
    # a stage that learns from nobody may come before the teachers that the recipe names for the others; those
    # of the last one judge the student, whether it learns from them or not
    judged = [*earlier, stage.id] if stage is recipe.stages[-1] else None
    uses = method.learns_from_teachers or bool(stage.teachers)
    for teacher in teachers:
        _check_teacher(teacher, f"{at}.teachers", earlier if uses else judged)
    if (stage.init or "").partition(":")[0] in TEACH_ONLY:
        raise UsageError(
            f"{at}.init: {stage.init!r} is an exported model without weights to start from; name a "
            "safetensors file or stage:ID, or name it under teachers"
        )
    _check_stage_exists(stage.init, at, earlier)


def _has_single_class(task: str) -> bool:
    """Whether a task's first head answers with one class of a sample."""
    head = heads_of(task)[0]
    return (head.level, head.activation) == ("sample", "softmax")


def _check_sampler(recipe: Recipe, stage: StageSpec, method: "Method", at: str, earlier: list[str]) -> None:
    """Check that the stages that a sampler reads are there, and that it can ask teachers."""
    from compactor.samplers import sampler_options

    sampler = sampler_options(stage, at)
    if sampler is None:
        return
    at, task = f"{at}.sampler", recipe.stage_task(stage)
    if (sampler.references or sampler.needs_teacher) and not _has_single_class(task):
        raise UsageError(
            f"{at}: scores what is answered with one class of a sample, task {task} answers otherwise; use "
            "sampler subset, or remove it"
        )
    if sampler.needs_teacher and stage.labels is not None:
        raise UsageError(
            f"{at}: asks teachers about samples that it picks once the stage begins, which a label store "
            "cannot hold before; remove labels to learn from live teachers"
        )
    if sampler.needs_teacher and (not method.learns_from_teachers or method.about.labels == "not read"):
        raise UsageError(
            f"{at}: samples with a label are learned from their labels and picked ones from teachers, but "
            f"method {stage.method!r} reads {'teachers' if method.learns_from_teachers else 'labels'} alone; "
            "use method kd"
        )
    shares = [one.share for one in recipe.stage_data(stage).also]
    if sampler.mixes and any(one is not None for one in shares):
        raise UsageError(
            f"{at}: says itself which samples of data.also an epoch takes, so that their share has no "
            "effect; remove share"
        )
    known = {one.id: one for one in recipe.stages if one.id in earlier}
    for reference in sampler.references:
        if not reference.startswith(STAGE):
            raise UsageError(f"{at}.options: {reference!r} found, expected an earlier stage, as stage:ID")
        _check_stage_exists(reference, f"{at}.options", earlier)
        other = known[reference.removeprefix(STAGE)]
        if recipe.stage_task(other) != task:
            raise UsageError(
                f"{at}.options: {reference!r} was trained for {recipe.stage_task(other)}, the stage is for "
                f"{task}; name a stage of the same task"
            )
        if reference in sampler.same_rows and recipe.stage_data(other) != recipe.stage_data(stage):
            raise UsageError(
                f"{at}.options: {reference!r} keeps what it found by the samples of other data; give both "
                "stages the same data"
            )
    sampler.check(known, f"{at}.options")


def _check_peer(recipe: Recipe, stage: StageSpec, options: msgspec.Struct, at: str) -> None:
    """Check that the network that learns beside a student of trained weights does not start from noise."""
    is_trained = stage.init is not None or recipe.stage_student(stage).weights is not None
    if is_trained and getattr(options, "peer", None) == "drawn":
        raise UsageError(
            f"{at}.options.peer: drawn found, but the student starts from trained weights; set peer: copied, "
            "so that both networks do, or train both from a random start"
        )


def _check_several(stage: StageSpec, task: str, options: msgspec.Struct, at: str) -> None:
    """Refuse what is for single classes where any number of labels may be true of a sample."""
    if getattr(options, "class_weights", "none") != "none":
        raise UsageError(
            f"{at}.options.class_weights: weighs single classes, but task {task} has any number of labels a "
            "sample; remove it"
        )
    if stage.labels is not None:
        raise UsageError(
            f"{at}.labels: a label store keeps one distribution over classes a sample, task {task} asks for "
            "any number of labels; remove labels to learn from live teachers"
        )


def _check_labels(stage: StageSpec, task: str, method: "Method", options: msgspec.Struct, at: str) -> None:
    """Check that a stage has labels where its method needs them, and none where they have no effect."""
    from compactor.methods import METHODS, method_named, views_of
    from compactor.methods.from_store import require_views

    labels, views = stage.labels, views_of(stage, options, at)
    if labels is None:
        if method.build is not None and views > 1:
            raise UsageError(
                f"{at}.options.crops_per_image: {views} found, but live teachers see one crop of an image; "
                "remove it, or add labels: {crops: 16}"
            )
        if method.build is None:
            raise UsageError(
                f"{at}.labels: absent, but method {stage.method!r} learns from a label store; add "
                "labels: {crops: 16}, or labels: {store: FOLDER} to use one that is there"
            )
        return
    if any(head.level != "sample" for head in heads_of(task)):
        raise UsageError(
            f"{at}.labels: a label store keeps one label a sample, task {task} answers for every token; "
            "remove labels to learn from live teachers"
        )
    if method.build_stored is None:
        able = [name for name in METHODS if method_named(name, at).build_stored]
        raise UsageError(
            f"{at}.labels: method {stage.method!r} cannot learn from a label store; remove labels, or use "
            f"one of {', '.join(able)}"
        )
    require_views(stage, views, views if labels.store else labels.crops)
    default = LabelsSpec()
    idle = ("crops", "probabilities", "boxes", "evaluation", "seed") if labels.store else ()
    if labels.quantization in ("full", "hard"):
        idle = (*idle, "probabilities")
    if not labels.quantization.startswith("marginal"):
        idle = (*idle, "k")
    for name in dict.fromkeys(idle):
        if getattr(labels, name) != getattr(default, name):
            why = (
                "store is given" if labels.store and name != "k" else f"quantization is {labels.quantization}"
            )
            warnings.warn(f"{at}.labels.{name} has no effect where {why}; remove it", stacklevel=2)


def _check_student(student: ModelSpec | None, at: str) -> None:
    """Check that a student, if there is one, can learn and takes images as they come."""
    if student is not None and student.family in TEACH_ONLY:
        raise UsageError(
            f"{at}: {student.model} is an exported model, which cannot learn; name it under teachers, and a "
            "model with trainable weights here"
        )
    if student is not None and student.image_size is not None:
        raise UsageError(
            f"{at}.image_size: only teachers resize their images; remove it, and set data.image_size instead"
        )


def _check_teacher(teacher: ModelSpec | str, at: str, earlier: list[str] | None) -> None:
    """Check one entry of a list of teachers; `earlier` stages are None where the entry is not used."""
    if isinstance(teacher, ModelSpec):
        if teacher.family in TEACH_ONLY:
            for name in ("weights", "mean", "std", "image_size"):
                if getattr(teacher, name) is not None:
                    raise UsageError(
                        f"{at}: {teacher.model} has its own {name}, which cannot be replaced; remove {name}"
                    )
        elif teacher.weights is None:
            raise UsageError(
                f"{at}: {teacher.model} has no weights; give weights: FILE.safetensors or pretrained"
            )
        return
    if not teacher.startswith(STAGE):
        raise UsageError(f"{at}: {teacher!r} is neither a model nor of the form stage:ID")
    if earlier is not None:
        _check_stage_exists(teacher, at, earlier)


def _check_stage_exists(reference: str | None, at: str, earlier: list[str]) -> None:
    if reference is not None and reference.startswith(STAGE):
        if reference.removeprefix(STAGE) not in earlier:
            known = f"earlier stages: {', '.join(earlier)}" if earlier else "this is the first stage"
            raise UsageError(f"{at}: {reference!r} names no earlier stage ({known})")


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
