"""Which model has which role: who can teach as it is, who must be trained first, which classes they know."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compactor.data.class_names import SHOWN, ClassMatch, match_classes
from compactor.data.labels import INDEX, INTEGER
from compactor.models import TEACH_ONLY
from compactor.propose.data import Found
from compactor.propose.models import FOLDERS, PRETRAINED, Named
from compactor.records import IMAGES, TEXTS
from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class Roles:
    """Teachers that can teach as they are, those to train first, and the student."""

    ready: list[Named]
    unready: list[Named]
    student: Named
    training: bool = True

    @property
    def teachers(self) -> list[Named]:
        """All of them."""
        return self.ready + self.unready


def made_ready(teacher: Named, found: Found) -> tuple[Named, bool]:
    """Give a teacher the weights that it starts from, and say whether it can teach as it is.

    Raises:
        UsageError: its weights are for other classes, or it must be trained but nothing is labelled.
    """
    teacher, ready = _judged(teacher, found)
    if not ready and found.is_unlabelled:
        raise UsageError(
            f"teacher {teacher.model}: has no weights that tell classes apart, and data {found.where} has no "
            "labels to train it with; give weights with --teacher-weights, or labelled data"
        )
    return teacher, ready


def _judged(teacher: Named, found: Found) -> tuple[Named, bool]:
    if teacher.family in TEACH_ONLY:
        if found.is_judged:
            check_fits(teacher, found, "teacher")
        return teacher, True
    published = teacher.family in FOLDERS and (found.task != IMAGES or teacher.is_classifier)
    if teacher.weights is None and published:
        teacher = replace(teacher, weights=PRETRAINED)
    if teacher.weights is None:
        return teacher, False
    if not found.is_judged:
        return teacher, True
    if teacher.weights != PRETRAINED or (teacher.is_classifier and teacher.family in FOLDERS):
        check_fits(teacher, found, "teacher")
        return teacher, True
    if teacher.is_classifier:  # of timm, which is built with a new last layer for other classes
        return teacher, fits(teacher, found)
    # of a hub id nothing is known; texts are usually started from an encoder, which must learn the classes
    return teacher, teacher.folder is None and (found.task != TEXTS or found.is_unlabelled)


def fits(model: Named, found: Found) -> bool:
    """Whether a model's classes are those of the data, or more than the data happen to show."""
    names, known = found.class_names, model.known
    if found.is_unlabelled or known.count is None:
        return True
    if known.names is None:
        return known.count >= len(names) if _are_numbers(names, known.count) else known.count == len(names)
    return _are_numbers_of(model, names) or _match(model, names) is not None


def _match(model: Named, names: Sequence[str]) -> ClassMatch | None:
    """Find the data's classes among those that a model names."""
    assert model.known.names is not None
    return match_classes(model.known.names, names, subset=True, where=model.model)


def check_fits(model: Named, found: Found, role: str) -> None:
    """Refuse weights of other classes.

    Raises:
        UsageError: see above.
    """
    if fits(model, found):
        return
    told = "tells" if model.weights is None else f"weights {model.weights} tell"
    way_out = (
        "a model without a last layer of its own"
        if model.weights == PRETRAINED
        else "another teacher"
        if model.weights is None
        else "leave the weights out to train it first"
    )
    raise UsageError(
        f"{role} {model.model}: {told} {model.known.count} classes apart"
        f"{_shown(model.known.names)}, data {found.where} has {len(found.class_names)}"
        f"{_shown(found.class_names)}; use data with its classes, or {way_out}"
    )


def _shown(names: list[str] | None) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def classes_of(
    models: Sequence[Named], found: Found, wished: list[str] | int | None, notes: list[str]
) -> list[str] | int | None:
    """What `data.classes` must say so that the labels mean what trained models mean by them.

    Args:
        models: Trained models whose classes are those of the data.
        found: The data.
        wished: What the user said; it wins.
        notes: Gets what must be taken on trust.

    Returns:
        None where the data say it all.

    Raises:
        UsageError: nothing says how many classes there are, or the models disagree.
    """
    known = [model for model in models if model.known.count is not None]
    counts = {model.known.count for model in known}
    if len(counts) > 1:
        shown = ", ".join(f"{model.model} {model.known.count}" for model in known)
        raise UsageError(f"teachers: tell different numbers of classes apart ({shown}); choose one sort")
    if wished is not None or not found.is_judged or found.named:
        return wished
    if found.is_unlabelled:
        if not known:
            raise UsageError(
                f"data {found.where}: has no labels, and no teacher's weights say how many classes there "
                "are; give --classes NUMBER, or their names with commas"
            )
        return next((model.known.names for model in known if model.known.names), known[0].known.count)
    return _order(known, models, found, notes)


def _order(
    known: Sequence[Named], models: Sequence[Named], found: Found, notes: list[str]
) -> list[str] | int | None:
    """The classes of labelled data: their own names, as many as trained models tell apart."""
    names = found.class_names
    named = next((model for model in known if model.known.names), None)
    if named is not None and named.known.names is not None:
        theirs = named.known.names
        classes = _with_their_own(named, names)
        if classes is None:
            classes = theirs
            pairs = ", ".join(f"{number} = {name}" for number, name in enumerate(theirs[:SHOWN]))
            notes.append(
                f"the labels are numbers, and {named.model} says what they mean: {pairs}"
                f"{', ...' if len(theirs) > SHOWN else ''}; correct data.classes if they mean something else"
            )
        notes += [
            f"{model.model}: {match.told()}"
            for model in known
            if model.known.names and (match := _match(model, classes)) is not None and match.told()
        ]
        return None if classes == names else classes
    if models and not _are_numbers(names, len(names)):
        notes.append(
            f"{models[0].model} does not say its classes: trusted to have the data's, in their order"
            f"{_shown(names)}; correct data.classes if it has not"
        )
    count = known[0].known.count if known else None
    return count if count is not None and count > len(names) and _are_numbers(names, count) else None


def _with_their_own(model: Named, names: list[str]) -> list[str] | None:
    """A model's classes in its order, those that the data have as the data spell them; None for numbers."""
    assert model.known.names is not None
    if _are_numbers_of(model, names):
        return None
    match = _match(model, names)
    assert match is not None  # checked when the model got its role
    classes = list(model.known.names)
    for place, name in zip(match.order, names, strict=True):
        classes[place] = name
    return names if match.how != "written" and len(classes) == len(names) else classes


def _are_numbers_of(model: Named, names: list[str]) -> bool:
    """Whether the labels are numbers of the classes that a model names with names that are no integers."""
    theirs = model.known.names or []
    return _are_numbers(names, len(theirs)) and not any(INTEGER.fullmatch(name) for name in theirs)


def _are_numbers(names: list[str], count: int) -> bool:
    """Whether the labels are numbers below `count`, so that a teacher may know what they mean, and more."""
    return bool(names) and all(INDEX.fullmatch(name) and int(name) < count for name in names)
