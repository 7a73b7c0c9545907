"""What no type can say of how a stage learns: method, options, sampler, mixer, labels, and from whom."""

import warnings
from typing import TYPE_CHECKING

import msgspec

from compactor.models import TEACH_ONLY
from compactor.recipe.cross_fit import check_cross_fit
from compactor.recipe.spec import STAGE, LabelsSpec, ModelSpec, Recipe, StageSpec
from compactor.records import EMBEDDING, Activation, has_several, heads_of, reads_images
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.methods import Method

COMPARED: dict[Activation, str] = {"softmax": "classes", "sigmoid": "any number of labels", "none": EMBEDDING}


def check_method(recipe: Recipe, stage: StageSpec, at: str, earlier: list[str]) -> None:
    """Check a stage's method, its options, and whom it learns from and starts from."""
    from compactor.methods import method_named, require_mixable, stage_options

    method = method_named(stage.method, at)
    options = stage_options(method, stage, at)
    task = recipe.stage_task(stage)
    require_comparable(stage.method, task, f"{at}.method")
    _check_answers(stage, task, method, at)
    if has_several(task):
        _check_several(stage, task, options, at)
    if method.check_task is not None:
        method.check_task(options, task, at)
    _check_mixer(recipe, stage, method, at)
    if getattr(options, "cutmix", False) and not reads_images(task):
        raise UsageError(f"{at}.options.cutmix: only images mix, the task is {task}; remove it")
    _check_sampler(recipe, stage, method, at, earlier)
    _check_peer(recipe, stage, options, at)
    if method.trains_subclasses:
        _check_subclasses(recipe, stage, task, at)
    _check_labels(stage, task, method, options, at)
    if recipe.stage_data(stage).also:
        require_mixable(stage, options, at)
    _check_teachers(recipe, stage, method, options, at, earlier)
    check_cross_fit(recipe, stage, at)
    if (stage.init or "").partition(":")[0] in TEACH_ONLY:
        raise UsageError(
            f"{at}.init: {stage.init!r} is an exported model without weights to start from; name a "
            "safetensors file or stage:ID, or name it under teachers"
        )
    check_stage_exists(stage.init, at, earlier)


def _check_teachers(
    recipe: Recipe, stage: StageSpec, method: "Method", options: msgspec.Struct, at: str, earlier: list[str]
) -> None:
    """Check whom a stage learns from: as many as its method takes, and each of them."""
    teachers = recipe.stage_teachers(stage)
    has_store = stage.labels is not None and stage.labels.store is not None
    if method.learns_from_teachers and not teachers and not has_store:
        raise UsageError(
            f"{at}.teachers: method {stage.method!r} needs at least one; name them here or at the top"
        )
    if method.most_teachers is not None and len(teachers) > method.most_teachers:
        raise UsageError(
            f"{at}.teachers: {len(teachers)} found, but method {stage.method!r} takes {method.most_teachers} "
            "at most; name those it is to learn from in the stage"
        )
    if method.check_teachers is not None:
        method.check_teachers(options, teachers, at)
    # a stage that learns from nobody may come before the teachers that the recipe names for the others; those
    # of the last one judge the student, whether it learns from them or not
    judged = [*earlier, stage.id] if stage is recipe.stages[-1] else None
    uses = method.learns_from_teachers or bool(stage.teachers)
    for teacher in teachers:
        check_teacher(teacher, f"{at}.teachers", earlier if uses else judged)


def require_comparable(name: str, task: str, at: str) -> None:
    """Refuse a method that does not compare what a task's models answer with.

    Raises:
        UsageError: it compares something else.
    """
    from compactor.methods import method_named

    able = method_named(name, at).activations
    activations = {head.activation for head in heads_of(task)}
    if not activations <= able:
        found = " and ".join(sorted(COMPARED[one] for one in activations))
        compared = " or ".join(what for one, what in COMPARED.items() if one in able)
        raise UsageError(
            f"{at}: {name!r} compares {compared}, task {task} answers with "
            f"{found}; use method embedding for task embedding, kd or supervised otherwise"
        )


def _has_one_class(task: str) -> bool:
    """Whether a task's models answer with one class of a sample and nothing else."""
    return len(heads_of(task)) == 1 and _has_single_class(task)


def _has_single_class(task: str) -> bool:
    """Whether a task's first head answers with one class of a sample."""
    head = heads_of(task)[0]
    return (head.level, head.activation) == ("sample", "softmax")


def _check_mixer(recipe: Recipe, stage: StageSpec, method: "Method", at: str) -> None:
    """Check a stage's mixer, that there are answers for it to mix, and that they are what it mixes."""
    from compactor.mixers import stage_mixer

    mixer, named, task = stage_mixer(stage, at), stage.chosen_mixer, recipe.stage_task(stage)
    if named is None:
        return
    if not method.learns_from_teachers or method.most_teachers == 1:
        why = "learns from one teacher" if method.learns_from_teachers else "learns from no teacher"
        raise UsageError(f"{at}.mixer: has no effect, method {stage.method!r} {why}; remove it")
    if stage.labels is not None and stage.labels.store is not None and not recipe.stage_teachers(stage):
        raise UsageError(
            f"{at}.mixer: has no effect where labels.store names a store, whose teachers are mixed already; "
            "remove it, or name the store's teachers"
        )
    if mixer.one_head and not _has_one_class(task):
        raise UsageError(
            f"{at}.mixer: {named.name!r} mixes answers of one class a sample and nothing else, task {task} "
            "answers otherwise; remove it"
        )


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
        check_stage_exists(reference, f"{at}.options", earlier)
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


def _check_answers(stage: StageSpec, task: str, method: "Method", at: str) -> None:
    """Check that a task answers with one class a sample, and reads images, where a method is for these."""
    if method.one_class and not _has_one_class(task):
        found = " and ".join(f"{head.name} of a {head.level}" for head in heads_of(task))
        raise UsageError(
            f"{at}.method: {stage.method!r} learns one class of a sample, task {task} answers with {found}; "
            "use method kd or supervised"
        )
    if method.images_only and not reads_images(task):
        raise UsageError(
            f"{at}.method: {stage.method!r} transforms images, task {task} reads texts; use another method"
        )


def _check_peer(recipe: Recipe, stage: StageSpec, options: msgspec.Struct, at: str) -> None:
    """Check that the network that learns beside a student of trained weights does not start from noise."""
    is_trained = stage.init is not None or recipe.stage_student(stage).weights is not None
    if is_trained and getattr(options, "peer", None) == "drawn":
        raise UsageError(
            f"{at}.options.peer: drawn found, but the student starts from trained weights; set peer: copied, "
            "so that both networks do, or train both from a random start"
        )


def _check_subclasses(recipe: Recipe, stage: StageSpec, task: str, at: str) -> None:
    """Check that the student has the subclasses that the method trains, and its task has room for them."""
    heads = heads_of(task)
    if len(heads) > 1 or heads[0].level != "sample":
        raise UsageError(
            f"{at}.method: {stage.method!r} divides the one class of a sample, task {task} answers "
            "otherwise; use method kd"
        )
    student = recipe.stage_student(stage)
    if student.subclasses is None:
        raise UsageError(
            f"{at}.student: {student.model} has no subclasses for method {stage.method!r} to train; write "
            f"student: {{model: {student.model}, subclasses: 5}}"
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


def check_teacher(
    teacher: ModelSpec | str, at: str, earlier: list[str] | None, *, teaches: bool = True
) -> None:
    """Check one entry of a list of teachers.

    Args:
        teacher: the entry.
        at: where it stands.
        earlier: ids of the stages that it may name, None where the entry is not used.
        teaches: whether a stage learns from it; others only judge or choose by it.

    Raises:
        UsageError: a setting has no effect, or there is no such stage.
    """
    if isinstance(teacher, ModelSpec):
        check_runtime(teacher, at, teaches=teaches)
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
        check_stage_exists(teacher, at, earlier)


def check_runtime(model: ModelSpec, at: str, *, teaches: bool = True) -> None:
    """Check that a model's runtime, and its bounds, have an effect."""
    if model.is_moved and not teaches:
        raise UsageError(
            f"{at}.runtime: {model.runtime} found, but only teachers of a stage run elsewhere than in torch; "
            "remove it"
        )
    if model.is_moved and model.family == "bundle":
        raise UsageError(
            f"{at}.runtime: {model.runtime} found, but {model.model} is a graph already, which ONNX Runtime "
            "computes; remove it, or name the model that it was exported from"
        )
    default = ModelSpec(model=model.model)
    for name in ("max_kl", "min_agreement"):
        if not model.is_moved and getattr(model, name) != getattr(default, name):
            raise UsageError(
                f"{at}.{name}: has no effect on a teacher in torch; remove it, or name a runtime"
            )


def check_stage_exists(reference: str | None, at: str, earlier: list[str]) -> None:
    if reference is not None and reference.startswith(STAGE):
        if reference.removeprefix(STAGE) not in earlier:
            known = f"earlier stages: {', '.join(earlier)}" if earlier else "this is the first stage"
            raise UsageError(f"{at}: {reference!r} names no earlier stage ({known})")
