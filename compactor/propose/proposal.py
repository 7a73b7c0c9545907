"""From names on a command line to a whole recipe: teachers, student, data and stages put together."""

from dataclasses import dataclass, replace
from pathlib import Path

from compactor.models.problem_types import require_one_class
from compactor.propose.data import Found, Wishes, find_data
from compactor.propose.document import to_recipe
from compactor.propose.image_sizes import only_size
from compactor.propose.models import FOLDERS, PRETRAINED, Named, read_model, split_teachers
from compactor.propose.teachers import Roles, check_fits, classes_of, fits, made_ready
from compactor.propose.tokens import with_tokens
from compactor.propose.wished_method import require_known, require_method
from compactor.records import IMAGES, TEXTS, VECTORS, has_several, head_at, heads_of
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

CIFAR_SIDE, USUAL_SIDE, LARGEST_SIDE = 32, 224, 256
SKEW = 20  # times that a class may be larger than another


@dataclass(frozen=True)
class Proposal:
    """A recipe: its name, its commented YAML, and what the user should know before running it."""

    name: str
    yaml: str
    notes: list[str]


def propose(
    teacher: str,
    student: str,
    data: str,
    *,
    task: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    image_size: int | None = None,
    classes: list[str] | int | None = None,
    tokenizer: str | None = None,
    report: str | None = None,
    teacher_weights: str | None = None,
    student_weights: str | None = None,
    training: bool = True,
    method: str | None = None,
    name: str | None = None,
    base: Path | None = None,
) -> Proposal:
    """Write a recipe for models and data; relative paths are those of the working directory.

    Args:
        teacher: `MODEL[?OPTION=VALUE][@WEIGHTS]`, several joined by `+`, or `-` for none.
        student: The same, one model.
        data: Named data set, image folder, table, folder of tables, or hub id.
        task: Absent = guessed from the data.
        text_column: Column of texts; as the other columns, guessed where absent.
        label_column: Column of labels, `-` for none.
        image_column: Column of images.
        image_size: Side in pixels that images are stored with.
        classes: Number or names of the classes, where nothing else says it.
        tokenizer: For texts, where neither student nor teacher brings one.
        report: Data of the report split.
        teacher_weights: Safetensors file or `pretrained`, instead of @WEIGHTS.
        student_weights: The same for the student.
        training: False = the student has its weights already and is only exported, verified and measured.
        method: Of the student's stage; absent = kd (embedding) from teachers, supervised without.
        name: Name of the recipe; absent = made of data and student.
        base: Folder in which the recipe will lie, for relative paths; absent = all paths are full ones.

    Raises:
        UsageError: something that is not there, does not fit together, or could mean several things.
        UnfitEnvironmentError: a package or a network is missing.
    """
    from compactor.tasks import TASKS

    if task is not None and task not in TASKS:
        raise UsageError(f"task {task!r}: there is no such task; {nearest(task, TASKS)}")
    if task is not None and has_several(task):
        raise UsageError(
            f"--task {task}: recipes for any number of labels are not proposed; write one from the lines in "
            "docs/guide/multi-label.md"
        )
    if method is not None:
        require_known(method, training=training)
    names = split_teachers(teacher)
    if teacher_weights is not None and len(names) != 1:
        raise UsageError(
            f"teacher weights {teacher_weights}: found {len(names)} teachers, expected one; "
            "write MODEL@WEIGHTS+MODEL@WEIGHTS for several"
        )
    teachers = [read_model(one, base=base, weights=teacher_weights, role="teacher") for one in names]
    pupil = read_model(student, base=base, weights=student_weights, role="student")
    wishes = Wishes(task, text_column, label_column, image_column, image_size, report, tokenizer, classes)
    found = find_data(data, wishes, base)
    notes = [*found.notes]
    found = _task_of_unlabelled_texts(found, teachers, wishes, notes)
    _check_labels(found, teachers, training)
    _check_problems(found, [*teachers, pupil])
    judged = [made_ready(one, found) for one in teachers]
    pupil = _student(pupil, teachers, found, training, notes)
    roles = _roles(judged, pupil, training)
    if method is not None:
        require_method(method, found, roles, notes)
    sized = _with_classes(_with_size(found, roles, notes), roles, classes, notes)
    sized = with_tokens(sized, roles, base, notes)
    notes += _problems(sized)
    title = name or f"{_word(data)}-{pupil.short}"
    return Proposal(title, to_recipe(title, sized, roles, notes, method=method), notes)


def _task_of_unlabelled_texts(found: Found, teachers: list[Named], wishes: Wishes, notes: list[str]) -> Found:
    """Texts without labels and an encoder without classes can only be about embeddings."""
    about_embeddings = (
        wishes.task is None
        and found.task == TEXTS
        and found.is_unlabelled
        and bool(teachers)
        and all(one.family in FOLDERS and one.folder and not one.is_classifier for one in teachers)
    )
    if not about_embeddings:
        return found
    notes.append(
        "neither data nor teacher know classes, so the student learns the teacher's embeddings; "
        f"--task {TEXTS} says otherwise"
    )
    keys = {key: value for key, value in found.keys.items() if key != "label_column"}
    return replace(found, task=VECTORS, keys=keys)


def _check_labels(found: Found, teachers: list[Named], training: bool) -> None:
    if not found.is_judged:
        return
    if not teachers and training and found.is_unlabelled:
        raise UsageError(
            f"data {found.where}: has no labels, and there is no teacher to learn from instead; name a "
            "teacher, or the column of labels with --label-column"
        )
    if not found.is_unlabelled and len(found.class_names) == 1:
        raise UsageError(
            f"data {found.where}: nothing to classify: all rows are of class {found.class_names[0]!r}, "
            "expected two classes at least; correct the label column or the folders"
        )


def _check_problems(found: Found, models: list[Named]) -> None:
    """Refuse trained classifiers of other problems; of an encoder the head is not asked."""
    for one in models if found.task in (IMAGES, TEXTS) else []:
        if one.is_classifier and (one.weights == PRETRAINED or found.task == TEXTS or one is not models[-1]):
            require_one_class(one.model, one.config.get("problem_type"))


def _student(student: Named, teachers: list[Named], found: Found, training: bool, notes: list[str]) -> Named:
    """Choose where the student starts."""
    if not training:
        if student.weights is None and student.family in FOLDERS:
            student = replace(student, weights=PRETRAINED)
        if student.weights is None:
            raise UsageError(
                f"student {student.model}: without training it needs its weights; give MODEL@WEIGHTS or "
                "--student-weights"
            )
        check_fits(student, found, "student")
        return student
    if found.task == IMAGES or student.family not in FOLDERS:
        return student
    if student.weights is None:
        student = replace(student, weights=PRETRAINED)
    if found.is_judged and student.weights == PRETRAINED and not fits(student, found):
        notes.append(
            f"student {student.model}: its weights tell {student.known.count} other classes apart: it gets a "
            "new last layer, which is trained from a random start"
        )
    twin = next((one for one in teachers if one.model == student.model), None)
    if twin is None or student.options or student.weights != PRETRAINED:
        return student
    if student.depth is None or student.depth[1] < 2:
        notes.append(f"student {student.model} is as large as its teacher; set student.options")
        return student
    kept = list(range(1, student.depth[1], 2))
    notes.append(f"the student is its teacher's model, so it keeps every second layer only: {kept}")
    return replace(student, options={"layers": kept})


def _roles(judged: list[tuple[Named, bool]], student: Named, training: bool) -> Roles:
    roles = Roles(
        [one for one, ready in judged if ready],
        [one for one, ready in judged if not ready],
        student,
        training,
    )
    if roles.unready and not training:
        raise UsageError(
            f"teacher {roles.unready[0].model}: must be trained before it can judge, but nothing is to be "
            "trained; give its weights, or - for no teacher"
        )
    return roles


def _with_size(found: Found, roles: Roles, notes: list[str]) -> Found:
    """Choose the stored size of images that differ in size, or are larger than a student needs."""
    if found.task != IMAGES or found.survey.sizes is None or "image_size" in found.keys:
        return found
    low_h, low_w, high_h, high_w = found.survey.sizes
    smallest = min(low_h, low_w)
    differ = (low_h, low_w) != (high_h, high_w)
    side = None
    if differ or smallest > LARGEST_SIDE:
        usual = CIFAR_SIDE if roles.student.family == "cifar" else USUAL_SIDE
        side = max(min(smallest, usual), CIFAR_SIDE)
    only = only_size(roles.student, *((side, side) if side else (low_h, low_w)))
    sizes = f"{low_h} x {low_w} to {high_h} x {high_w}" if differ else f"{low_h} x {low_w}"
    if only is not None and only[0] == only[1]:
        side = only[0]
        notes.append(
            f"student {roles.student.model} takes images of {side} x {side} pixels alone, these are {sizes}: "
            f"image_size {side} resizes and cuts them all to that"
        )
    elif side is not None:
        notes.append(f"images are {sizes} pixels: image_size {side} cuts them all to {side} x {side}")
    return found if side is None else replace(found, keys=found.keys | {"image_size": side})


def _with_classes(found: Found, roles: Roles, wished: list[str] | int | None, notes: list[str]) -> Found:
    if head_at(heads_of(found.task), "sample") is None:  # of words, whose classes the data say
        return found
    knowers = roles.ready if roles.training else [*roles.ready, roles.student]
    classes = classes_of(knowers, found, wished, notes)
    keys = {key: value for key, value in found.keys.items() if key != "classes"}
    return replace(found, keys=keys if classes is None else keys | {"classes": classes})


def _problems(found: Found) -> list[str]:
    """What is wrong with the data, the survey's findings first."""
    # that sizes differ is answered by the image_size that was chosen, and said with it
    problems = [one for one in found.survey.problems if not one.startswith("images differ in size")]
    if not found.is_judged:  # labels are never read
        problems = [one for one in problems if "label" not in one and "class" not in one]
    labelled = [count for count in found.survey.classes.values() if count]
    if found.is_judged and labelled and max(labelled) > SKEW * min(labelled):
        problems.append(
            f"the largest class has {max(labelled) / min(labelled):.0f} times the rows of the smallest: "
            "options class_weights: balanced weighs them alike"
        )
    return problems


def _word(data: str) -> str:
    """A word for the recipe's name: the last part of the path, without suffix."""
    stem = Path(data).expanduser().absolute().stem if data else ""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
    return word.lower() or "data"
