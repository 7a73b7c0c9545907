"""`labels: {cross_fit: K}`: the stages that train its teachers, and that none can have seen what it labels.

The one teacher of such a stage becomes K ordinary stages, `ID-foldIofK`, each with sampler `other-folds`; a
recipe in which they are written out, as a run keeps it, reads the same.
"""

from typing import Any

import msgspec

from compactor.data.spec import DataSpec
from compactor.recipe.spec import STAGE, ModelSpec, Recipe, SamplerSpec, StageSpec
from compactor.samplers import OTHER_FOLDS, sampler_options
from compactor_runtimes.errors import UsageError

HINT = "name one stage of this recipe that trains it, as teachers: [stage:ID]"


def check_cross_fit(recipe: Recipe, stage: StageSpec, at: str) -> None:
    """Check that a stage's labels can be cross-fitted, if it asks for that.

    Raises:
        UsageError: a teacher may have seen what it labels, or a setting contradicts.
    """
    folds = None if stage.labels is None else stage.labels.folds
    if stage.labels is None or folds is None:
        return
    at = f"{at}.labels.cross_fit"
    if stage.labels.store is not None:
        raise UsageError(
            f"{at}: {folds} found beside labels.store, whose labels are made already; remove one of them"
        )
    if stage.chosen_mixer is not None:
        raise UsageError(
            f"{at}: each sample is labelled by one teacher, so that mixer {stage.chosen_mixer.name!r} has "
            "nothing to mix; remove the mixer"
        )
    taught_by = _fold_stages(recipe, stage, folds) or [_one_teacher(recipe, stage, at)]
    for teacher in taught_by:
        _check_unseen(recipe, stage, teacher, at)


def with_fold_stages(recipe: Recipe) -> Recipe:
    """The recipe with the teachers of cross-fitted labels written out, K stages in the place of each.

    A teacher that something else needs too is trained on all samples as well.

    Raises:
        UsageError: a stage has a fold's id already.
    """
    wanted = {
        stage.id: (teacher, folds)
        for index, stage in enumerate(recipe.stages)
        if stage.labels is not None and (folds := stage.labels.folds) is not None
        if not _fold_stages(recipe, stage, folds)
        for teacher in [_one_teacher(recipe, stage, f"recipe stages.{index}")]
    }
    if not wanted:
        return recipe
    replace, ids = msgspec.structs.replace, {stage.id for stage in recipe.stages}
    still = _needed_whole(recipe, set(wanted))
    stages: list[StageSpec] = []
    for stage in recipe.stages:
        counts = sorted({folds for teacher, folds in wanted.values() if teacher.id == stage.id})
        for folds in counts:
            names = _fold_ids(stage.id, folds)
            if taken := ids & set(names):
                raise UsageError(
                    f"recipe stages: id {min(taken)!r} is taken, but labels.cross_fit names the stage of a "
                    "fold so; give that stage another id"
                )
            stages += [
                replace(
                    stage,
                    id=name,
                    sampler=SamplerSpec(name=OTHER_FOLDS, options={"fold": fold, "folds": folds}),
                )
                for fold, name in enumerate(names, start=1)
            ]
        if not counts or stage.id in still:
            if stage.id in wanted:
                teacher, folds = wanted[stage.id]
                stage = replace(stage, teachers=[f"{STAGE}{one}" for one in _fold_ids(teacher.id, folds)])
            stages.append(stage)
    left = {stage.id for stage in stages}
    at_top = [one for one in recipe.teachers if not isinstance(one, str) or one.removeprefix(STAGE) in left]
    return replace(recipe, stages=stages, teachers=at_top)


def _fold_ids(teacher: str, folds: int) -> list[str]:
    return [f"{teacher}-fold{fold}of{folds}" for fold in range(1, folds + 1)]


def _stage_named(recipe: Recipe, reference: str) -> StageSpec:
    """An earlier stage; that it is there was checked."""
    return next(one for one in recipe.stages if one.id == reference.removeprefix(STAGE))


def _fold_stages(recipe: Recipe, stage: StageSpec, folds: int) -> list[StageSpec]:
    """A stage's teachers where they are the stages of the folds, in their order; else none."""
    references = [one for one in recipe.stage_teachers(stage) if isinstance(one, str)]
    named = [_stage_named(recipe, one) for one in references]
    options = [{"fold": fold, "folds": folds} for fold in range(1, folds + 1)]
    is_all = len(references) == len(recipe.stage_teachers(stage))
    return named if is_all and [_fold_of(one) for one in named] == options else []


def _fold_of(stage: StageSpec) -> dict[str, Any] | None:
    """Which fold a stage leaves out, as its sampler has it; None where its sampler is another."""
    sampler = stage.chosen_sampler
    return None if sampler is None or sampler.name != OTHER_FOLDS else sampler.options


def _one_teacher(recipe: Recipe, stage: StageSpec, at: str) -> StageSpec:
    """The stage that is to be trained once for each fold.

    Raises:
        UsageError: there are several teachers, or one that is not trained here.
    """
    references = recipe.stage_teachers(stage)
    for one in references:
        if isinstance(one, ModelSpec):
            raise UsageError(
                f"{at}: teacher {one.model} is not trained here, so every row may have been seen; {HINT}"
            )
    if len(references) != 1:
        raise UsageError(
            f"{at}: {len(references)} teachers found, expected one, to be trained once for each fold; {HINT}"
        )
    return _stage_named(recipe, str(references[0]))


def _check_unseen(recipe: Recipe, stage: StageSpec, teacher: StageSpec, at: str) -> None:
    """Check that the training of a teacher meets no sample but those that its fold leaves."""
    from compactor.methods import method_named

    at = f"{at}: teacher stage {teacher.id!r}"
    if teacher.chosen_sampler is not None and _fold_of(teacher) is None:
        raise UsageError(
            f"{at} has sampler {teacher.chosen_sampler.name!r}, but which samples it visits is given by the "
            "folds; remove its sampler"
        )
    if method_named(teacher.method, at).learns_from_teachers:
        raise UsageError(
            f"{at} learns from teachers itself (method {teacher.method!r}), which may have seen every row; "
            "train it from labels alone"
        )
    ours, theirs = recipe.stage_data(stage), recipe.stage_data(teacher)
    if theirs.also:
        raise UsageError(
            f"{at} mixes other data in (data.also), which no fold divides; give it data without also"
        )
    if _without_also(ours) != theirs:
        raise UsageError(
            f"{at} is trained on other data or limits than the stage that learns, so that its folds are not "
            "those of the samples to label; give both stages the same data"
        )
    origin = teacher.init
    while origin is not None and origin.startswith(STAGE):
        earlier = _stage_named(recipe, origin)
        if recipe.stage_data(earlier).dataset == theirs.dataset:
            raise UsageError(
                f"{at} starts from {origin}, which was trained on all rows of {theirs.dataset}; remove init, "
                "or start from a stage of other data"
            )
        origin = earlier.init


def told_start(recipe: Recipe, stage: StageSpec) -> list[str]:
    """What is to be said of the weights that the teachers of cross-fitted labels start from."""
    if stage.labels is None or stage.labels.folds is None:
        return []
    named = [one for one in recipe.stage_teachers(stage) if isinstance(one, str)]
    weights = {
        start
        for teacher in (_stage_named(recipe, one) for one in named)
        if (start := teacher.init or recipe.stage_student(teacher).weights) is not None
    }
    return [
        f"stage {stage.id}: the teachers of its labels start from {start}; training samples that those "
        "weights have seen are not unseen, whatever the fold"
        for start in sorted(weights)
    ]


def _without_also(data: DataSpec) -> DataSpec:
    return msgspec.structs.replace(data, also=[])


def _needed_whole(recipe: Recipe, cross_fitted: set[str]) -> set[str]:
    """Ids of stages that something else than cross-fitted labels refers to, and of the last stage."""
    references: list[ModelSpec | str | None] = [*recipe.pool_teachers] if recipe.pool is not None else []
    for stage in recipe.stages:
        sampler = sampler_options(stage, f"stage {stage.id}")
        references += [stage.init, *([] if sampler is None else sampler.references)]
        references += [] if stage.id in cross_fitted else _heard(recipe, stage)
    names = {one.removeprefix(STAGE) for one in references if isinstance(one, str) and one.startswith(STAGE)}
    return {recipe.stages[-1].id, *names}


def _heard(recipe: Recipe, stage: StageSpec) -> list[ModelSpec | str]:
    """Teachers that a stage learns from, or is judged by."""
    from compactor.methods import method_named

    learns = method_named(stage.method, f"stage {stage.id}").learns_from_teachers
    is_heard = learns or bool(stage.teachers) or stage is recipe.stages[-1]
    return recipe.stage_teachers(stage) if is_heard else []
