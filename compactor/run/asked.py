"""Ask teachers before they teach: what they answer on select rows that have labels must make sense.

Only heads of classes of a sample are asked, on at most MOST_ROWS rows; of all others it is said that nobody
asked them. What the verdicts mean is in answers_check.py.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Dataset, Split
from compactor.evaluation import split_labels, stored_answers, student_answers
from compactor.label_store.store import LabelStore
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.run.answers_check import AnswersCheck, check_answers
from compactor.tasks import Task
from compactor.teachers import describe_teacher
from compactor_runtimes.errors import UsageError

MOST_ROWS = 2_000
SHOWN = 8  # classes of an order in a message


def ask_teachers(
    references: Sequence[ModelSpec | str],
    models: Sequence[Student],
    data: Dataset,
    task: Task,
    *,
    stage: str,
    is_smoke: bool,
) -> list[str]:
    """Ask each teacher on select rows; return what is to be said.

    Args:
        references: the teachers' entries.
        models: the same, opened, in their order.
        data: of the stage that they teach.
        task: of that stage.
        stage: its id, for messages.
        is_smoke: what would stop is only said.

    Raises:
        UsageError: a teacher is no better than chance, or its classes are in another order.
    """
    split = _asked_rows(task, data.select)
    if split is None:
        return [f"{stage}: teachers were not asked beforehand: {_why_not(task)}"] if models else []
    said = []
    for reference, model in zip(references, models, strict=True):
        answers = student_answers(model, task.batches(split))[task.head.name].argmax(-1)
        trusted = isinstance(reference, ModelSpec) and reference.trust_teacher
        name = f"teacher {describe_teacher(reference)}"
        said += _heard(name, answers, split, data, task, stop=not (is_smoke or trusted))
    return said


def ask_store(store: LabelStore, data: Dataset, task: Task, *, stage: str, is_smoke: bool) -> list[str]:
    """The same of a given label store, whose select part says what its teachers answered.

    Raises:
        UsageError: they were no better than chance, or their classes are in another order.
    """
    split = _asked_rows(task, data.select)
    answers = None if split is None else stored_answers(store, split)
    if split is None or answers is None:
        return [f"{stage}: the teachers of the label store could not be asked: {_why_not(task)}"]
    found = answers[task.head.name].argmax(-1)
    return _heard(f"label store {store.folder}", found, split, data, task, stop=not is_smoke)


def _asked_rows(task: Task, split: Split) -> Split | None:
    """At most MOST_ROWS rows of select that have labels, evenly; None where nobody can be asked."""
    head = task.head
    if head.level != "sample" or head.activation != "softmax":
        return None
    labelled = np.flatnonzero(split_labels(task, split) >= 0)
    if not len(labelled):
        return None
    every = np.linspace(0, len(labelled) - 1, min(MOST_ROWS, len(labelled))).astype(np.int64)
    return replace(split, rows=split.rows[labelled[every]])


def _why_not(task: Task) -> str:
    if task.head.level != "sample" or task.head.activation != "softmax":
        return f"task {task.name} has no classes of a sample"
    return "select has no labels, or the store does not hold its rows"


def _heard(
    name: str, answered: NDArray[np.int64], split: Split, data: Dataset, task: Task, *, stop: bool
) -> list[str]:
    """What a teacher's answers are worth, as a sentence.

    Raises:
        UsageError: they are worth nothing, and nobody said to trust them.
    """
    classes = data.info.classes[task.head.name]
    found = check_answers(answered, split_labels(task, split), len(classes))
    sentence = _sentence(name, found, classes)
    if found.verdict in ("chance", "other order") and stop:
        way_out = "correct data.classes, the labels or the model"
        if not name.startswith("label store"):
            way_out += "; trust_teacher: true on its entry goes on all the same"
        raise UsageError(f"{sentence}; {way_out}")
    return [sentence] if sentence else []


def _sentence(name: str, found: AnswersCheck, classes: list[str]) -> str:
    balanced = f"{100 * found.balanced:.1f}% balanced accuracy"
    asked = f"on {found.n:,} select rows"
    if found.verdict == "other order":
        assert found.order is not None
        pairs = [(classes[at], classes[to]) for at, to in enumerate(found.order) if at != to]
        meant = ", ".join(f"{said!r} means {true!r}" for said, true in pairs[:SHOWN])
        more = ", ..." if len(pairs) > SHOWN else ""
        return (
            f"{name}: its classes are in another order than the data's: {asked} it is right on "
            f"{100 * found.accuracy:.1f}%, and on {100 * found.reordered:.1f}% if {meant}{more}"
        )
    if found.verdict == "chance":
        return (
            f"{name}: is no better than chance: {balanced} {asked} of {len(classes)} classes (99% bound "
            f"{100 * found.high:.1f}%, more than {100 * found.floor:.1f}% expected)"
        )
    if found.verdict == "too few rows":
        return f"{name}: {found.n:,} labelled select rows are too few to tell whether it is better than chance"
    return ""
