"""Which model has which role: who can teach as it is, who must be trained first, which classes they know."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    if teacher.weights != PRETRAINED:
        check_fits(teacher, found, "teacher")
        return teacher, True
    if teacher.is_classifier:
        check_head(teacher, found, "teacher")
        return teacher, fits(teacher, found)
    # of a hub id nothing is known; texts are usually started from an encoder, which must learn the classes
    return teacher, teacher.folder is None and (found.task != TEXTS or found.is_unlabelled)


def fits(model: Named, found: Found) -> bool:
    """Whether a model's classes are those of the data, or more than the data happen to show."""
    names, count = found.class_names, model.known.count
    if found.is_unlabelled or count is None:
        return True
    if _are_numbers(names):
        return count >= len(names)
    if model.known.names is not None:
        return set(names) <= set(model.known.names)
    return count == len(names)


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


def check_head(model: Named, found: Found, role: str) -> None:
    """Refuse a transformers classifier whose last layer has another size than the data's classes.

    Raises:
        UsageError: see above; only a model without such a layer gets a new one.
    """
    is_folder = model.family in FOLDERS and model.folder is not None
    if is_folder and model.weights == PRETRAINED and model.known.count != len(found.class_names):
        check_fits(model, found, role)


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
    """The classes of labelled data in the order that trained models give them."""
    names = found.class_names
    said = next((model.known.names for model in known if model.known.names), None)
    if said is not None and (_are_numbers(names) or set(names) <= set(said)):
        return None if said == names else said
    if models and not _are_numbers(names):
        notes.append(
            f"{models[0].model} does not say its classes: trusted to have the data's, in their order"
            f"{_shown(names)}; correct data.classes if it has not"
        )
    count = known[0].known.count if known else None
    return count if _are_numbers(names) and count is not None and count > len(names) else None


def _are_numbers(names: list[str]) -> bool:
    """Whether the labels are bare numbers 0..C-1, so that a teacher may know more of them."""
    return names == [str(number) for number in range(len(names))]
