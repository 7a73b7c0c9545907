"""Which classes a model says it tells apart, read from its files alone, and whether they are the data's."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compactor.cache.folder import CONFIG
from compactor.data.class_names import ClassMatch, match_classes, match_group, says_nothing, shown
from compactor.locate import locate, locate_model
from compactor.models import FAMILIES
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, TeacherClasses
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import UsageError

CLASSIFIES = (
    "ForSequenceClassification",
    "ForImageClassification",
)  # architectures that answer once a sample
USUAL_LABELS = 2  # what transformers leaves unwritten
NEW_HEAD = "its weights tell other classes apart ({}), so it gets a new last layer, which is untrained"


def stated_classes(spec: ModelSpec, base: Path) -> list[str] | None:
    """The names of a trained model's classes in the order of its answers; None where no local file says them.

    Raises:
        UsageError: its folder, package or bundle is missing.
        IntegrityError: the bundle is damaged.
    """
    if spec.family == "bundle":
        manifest = open_bundle(
            locate(spec.model.partition(":")[2], base, what=f"model {spec.model}")
        ).manifest
        head = manifest.main.outputs[0].labels
        return None if head is None else list(manifest.labels[head])
    if spec.family not in ("hf", "package") or spec.weights is None:
        return None
    folder = locate_model(spec.model, base)
    file = None if folder is None else folder / CONFIG
    if file is None or not file.is_file():
        return None
    try:
        return names_in_config(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        return None  # building the model says what is wrong with it


def names_in_config(config: dict[str, Any]) -> list[str] | None:
    """The classes that the config.json of a classifier names, LABEL_n where it names none."""
    kinds = " ".join(config.get("architectures") or [])
    if not any(kind in kinds for kind in CLASSIFIES):
        return None
    by_id = config.get("id2label") or {}
    if not by_id:
        return [f"LABEL_{index}" for index in range(int(config.get("num_labels") or USUAL_LABELS))]
    return [str(by_id[key]) for key in sorted(by_id, key=int)]


def names_for_numbers(models: Iterable[ModelSpec], base: Path) -> tuple[str, ...] | None:
    """What class numbers may mean where nobody names them: the first model's classes that are real names."""
    for spec in models:
        if spec.family in FAMILIES and (names := stated_classes(spec, base)) and not says_nothing(names):
            return tuple(names)
    return None


def has_classes_of_a_sample(info: DataInfo) -> bool:
    """Whether the task's models answer with classes of a sample, one or any number, and nothing else."""
    return len(info.heads) == 1 and info.heads[0].level == "sample" and info.heads[0].is_labelled


def with_classes(info: DataInfo, classes: Sequence[str] | None) -> DataInfo:
    """The data as a model sees it that has classes of its own."""
    if classes is None:
        return info
    return replace(info, classes=info.classes | {info.heads[0].name: list(classes)})


def class_match(classes: Sequence[str], spec: ModelSpec, info: DataInfo) -> ClassMatch | None:
    """Find the data's classes among a model's; None where they are others.

    Raises:
        UsageError: an alias of nothing, or classes that cannot be told apart by name.
    """
    return match_classes(
        classes,
        info.classes[info.heads[0].name],
        aliases=spec.aliases,
        subset=spec.classes == "subset",
        where=f"model {spec.model}",
    )


def group_match(classes: Sequence[str], info: DataInfo, where: str, spec: ModelSpec | None) -> ClassMatch:
    """Find the data's classes that a teacher knows, where its method asks for some of them alone.

    Args:
        classes: the teacher's, in the order of its answers.
        info: the data.
        where: opens messages, as `teacher hf:x`.
        spec: its entry, which may rename classes or say `classes: subset`; None of a stage.

    Raises:
        UsageError: it knows none of them, others, or all.
    """
    ours = info.classes[info.heads[0].name]
    match = match_group(
        classes,
        ours,
        aliases=None if spec is None else spec.aliases,
        subset=spec is not None and spec.classes == "subset",
        where=where,
    )
    if match is None:
        raise UsageError(
            f"{where}: knows classes that the data have not ({shown(classes)}; the data have {shown(ours)}), "
            "expected some of the data's; name the others with aliases, or set classes: subset on its entry"
        )
    if len(match.data) == len(ours):
        raise UsageError(
            f"{where}: knows all classes of the data ({shown(ours)}), but its method is for data with new "
            "ones; use method kd, or data that have more classes"
        )
    return match


def told_group(
    classes: Sequence[str], info: DataInfo, asked: TeacherClasses, match: ClassMatch | None
) -> str:
    """Say which of the data's classes a teacher knows; `match` of `asked: some`, else None."""
    ours = info.classes[info.heads[0].name]
    if match is not None:
        return f"knows {len(match.data)} of the data's {len(ours)} classes ({shown(match.data)})"
    if asked == "any" and list(classes) != ours:
        return f"has classes of its own ({shown(classes)}), a head fitted to labels answers for it"
    return ""


def refuse_classes(classes: Sequence[str], spec: ModelSpec, info: DataInfo) -> UsageError:
    """Say which classes do not match."""
    ours = info.classes[info.heads[0].name]
    way_out = "name them with aliases: {model's name: data's name}"
    if len(classes) > len(ours) and spec.classes is None:
        way_out += ", or set classes: subset where the data have some of its classes"
    return UsageError(
        f"model {spec.model}: its weights tell other classes apart ({shown(classes)}) than the data have "
        f"({shown(ours)}); {way_out}, or use data with its classes"
    )


def told_classes(
    spec: ModelSpec, info: DataInfo, base: Path, *, trains: bool, asked: TeacherClasses = "all"
) -> str:
    """Say how a model's classes become the data's, before anything is loaded; empty where they are the same.

    Args:
        spec: the model.
        info: the data.
        base: folder that relative paths resolve against.
        trains: it is a student that will be trained, and gets a new head where its own is for other classes.
        asked: which classes it has to know as a teacher.

    Raises:
        UsageError: they are other classes, or cannot be told apart by name.
    """
    if not has_classes_of_a_sample(info) or spec.weights is None and spec.family != "bundle":
        return ""
    classes = stated_classes(spec, base)
    if classes is None:
        is_file = spec.weights not in (None, "pretrained")
        ours = shown(info.classes[info.heads[0].name])
        told = f"its weights do not name their classes, so these are taken in the data's order ({ours})"
        return f"model {spec.model}: {told}" if is_file and not trains else ""
    if asked == "any":
        told = told_group(classes, info, asked, None)
        return f"teacher {spec.model}: {told}" if told else ""
    if asked == "some":
        where = f"teacher {spec.model}"
        return f"{where}: {told_group(classes, info, asked, group_match(classes, info, where, spec))}"
    match = class_match(classes, spec, info)
    if match is None:
        if not trains:
            raise refuse_classes(classes, spec, info)
        return f"model {spec.model}: {NEW_HEAD.format(shown(classes))}"
    return f"model {spec.model}: {match.told()}" if match.told() else ""
