"""Which of the data's classes each model of a stage knows, before anything is loaded, and who can judge."""

from collections.abc import Sequence
from pathlib import Path

from compactor.data.class_names import match_classes, match_group, shown
from compactor.data.splits import Dataset
from compactor.methods import classes_asked_of_teachers
from compactor.models.stated_classes import (
    class_match,
    group_match,
    has_classes_of_a_sample,
    stated_classes,
    told_classes,
    told_group,
)
from compactor.recipe.spec import STAGE, ModelSpec, StageSpec
from compactor.run.planned import PlannedStage

Reference = ModelSpec | str


def told_models(
    student: ModelSpec | None,
    teachers: Sequence[Reference],
    data: Dataset,
    base: Path,
    *,
    stage: StageSpec | None = None,
    stages: Sequence[PlannedStage] = (),
    trains: bool = True,
) -> list[str]:
    """How data are read, and whose classes are the data's.

    Args:
        student: None where it starts from other weights than its entry's.
        teachers: entries of the recipe.
        data: what they answer on.
        base: folder of the recipe.
        stage: that learns from them; None where nothing is trained.
        stages: the earlier ones.
        trains: the student will be trained.

    Raises:
        UsageError: a model that is not trained knows other classes than it has to.
    """
    asked = "all" if stage is None else classes_asked_of_teachers(stage, f"stage {stage.id}")
    told = [] if student is None else [told_classes(student, data.info, base, trains=trains)]
    for one in teachers:
        if isinstance(one, ModelSpec):
            told.append(told_classes(one, data.info, base, trains=False, asked=asked))
        elif asked != "all" and (theirs := _of_stage(one, stages)) is not None:
            match = group_match(theirs, data.info, f"teacher {one}", None) if asked == "some" else None
            group = told_group(theirs, data.info, asked, match)
            told.append(f"teacher {one}: {group}" if group else "")
    told.append("" if stage is None else _told_init(stage, data, stages))
    name = data.info.extra.get("dataset", "")
    return [f"data {name}: {note}" for note in data.notes] + [note for note in told if note]


def who_judges(
    references: Sequence[Reference],
    stage: StageSpec | None,
    data: Dataset,
    base: Path,
    stages: Sequence[PlannedStage],
) -> tuple[tuple[Reference, ...], list[str]]:
    """Those of the last stage's teachers that know all the data's classes; what is to be said of others."""
    if stage is None or classes_asked_of_teachers(stage, f"stage {stage.id}") == "all":
        return tuple(references), []
    judges, told = [], []
    for one in references:
        if _knows_all(one, data, base, stages):
            judges.append(one)
        else:
            name = one if isinstance(one, str) else one.model
            told.append(
                f"teacher {name}: does not know all the data's classes, the student is not compared with it"
            )
    return tuple(judges), told


def _knows_all(reference: Reference, data: Dataset, base: Path, stages: Sequence[PlannedStage]) -> bool:
    """A model that does not say its classes is taken to have the data's."""
    if not has_classes_of_a_sample(data.info):
        return True
    if isinstance(reference, ModelSpec):
        theirs = stated_classes(reference, base)
        return theirs is None or class_match(theirs, reference, data.info) is not None
    of_stage = _of_stage(reference, stages)
    ours = data.info.classes[data.info.heads[0].name]
    return of_stage is None or match_classes(of_stage, ours, where=f"teacher {reference}") is not None


def _told_init(stage: StageSpec, data: Dataset, stages: Sequence[PlannedStage]) -> str:
    """Which rows of the last layer a student takes from an earlier stage of other classes."""
    theirs = _of_stage(stage.init or "", stages)
    if theirs is None or not has_classes_of_a_sample(data.info):
        return ""
    ours = data.info.classes[data.info.heads[0].name]
    match = match_group(theirs, ours, subset=True, where=f"init {stage.init}")
    if theirs == ours or match is None:
        return ""  # opening it says what is wrong
    new = [name for name in ours if name not in match.data]
    told = f"stage {stage.id}: the student starts from {stage.init}, whose rows are taken by name"
    return told + (f"; {shown(new)} are new, their rows are random" if new else "")


def _of_stage(reference: str, stages: Sequence[PlannedStage]) -> list[str] | None:
    """The classes that an earlier stage is trained on; None where it is none, or answers otherwise."""
    found = next((one for one in stages if f"{STAGE}{one.id}" == reference), None)
    if found is None or not has_classes_of_a_sample(found.data.info):
        return None
    return found.data.info.classes[found.data.info.heads[0].name]
