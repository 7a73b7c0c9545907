"""Ask teachers before they teach: what they answer on select rows that have labels must make sense.

Only heads of classes or of any number of labels of a sample are asked, on at most MOST_ROWS rows; of all
others it is said that nobody asked them. What the verdicts mean is in answers_check.py and labels_check.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Dataset, Split
from compactor.evaluation import split_labels, stored_answers, student_answers, teacher_answers
from compactor.label_store.store import LabelStore
from compactor.progress import Reporter
from compactor.recipe.spec import STAGE, ModelSpec, Recipe
from compactor.release.answers_check import AnswersCheck, check_answers
from compactor.release.labels_check import LabelsCheck, check_label_answers
from compactor.run.taught import own_device
from compactor.tasks import Task
from compactor.teachers import Teachers, describe_teacher, group_of
from compactor_runtimes.errors import UsageError

MOST_ROWS = 2_000
SHOWN = 8  # classes of an order in a message


@dataclass(frozen=True)
class Asking:
    """Who asks: a stage, by its id, on its data and for its task; with `is_smoke` nothing stops."""

    stage: str
    data: Dataset
    task: Task
    reporter: Reporter
    is_smoke: bool

    def teachers(
        self, references: Sequence[ModelSpec | str], teachers: Teachers, recipe: Recipe
    ) -> list[str]:
        """Ask each teacher on select rows; return what is to be said.

        A teacher of some classes is asked on rows of these. Where the mixer answers by heads of its own, what
        it makes of all teachers is asked in their place.

        Args:
            references: the teachers' entries.
            teachers: the same, opened, in their order.
            recipe: says of its own stages whether their students are trusted.

        Raises:
            UsageError: a teacher is no better than chance, or its classes are in another order.
        """
        info, head = self.data.info, self.task.head.name
        split = self._rows()
        if split is None:
            asked = bool(teachers.models)
            return [f"{self.stage}: teachers were not asked beforehand: {self._why_not()}"] if asked else []
        trusted = [_is_trusted(one, recipe) for one in references]
        if teachers.mixer.has_heads:
            name = f"teachers of {self.stage}, mixed"
            with self.reporter.bar(f"ask {name}", len(split)) as bar:
                found = teacher_answers(teachers, self.task.batches(split), progress=bar.at)[head]
            return self._heard(name, found, split, is_trusted=any(trusted))
        said = []
        teachers.to(own_device())
        for reference, model, is_trusted in zip(references, teachers.models, trusted, strict=True):
            name = f"teacher {describe_teacher(reference)}"
            group = group_of(model, info)
            own = split if group is None else self._rows(group)
            if own is None:
                said.append(f"{name}: was not asked beforehand: select has no rows of its classes")
                continue
            with self.reporter.bar(f"ask {name}", len(own)) as bar:
                answers = student_answers(model, self.task.batches(own), progress=bar.at)
            said += self._heard(name, answers[head], own, is_trusted=is_trusted, group=group)
        return said

    def store(self, store: LabelStore) -> list[str]:
        """The same of a label store, whose select part says what its teachers answered.

        Raises:
            UsageError: they were no better than chance, or their classes are in another order.
        """
        split = self._rows()
        answers = None if split is None else stored_answers(store, split)
        if split is None or answers is None:
            return [f"{self.stage}: the store's teachers could not be asked: {self._why_not()}"]
        found = answers[self.task.head.name]
        return self._heard(f"label store {store.folder}", found, split)

    def _rows(self, group: Sequence[int] | None = None) -> Split | None:
        """At most MOST_ROWS rows of select that have labels, evenly; None where nobody can be asked.

        With a `group` of classes they are rows of these.
        """
        if not self._has_classes:
            return None
        split = self.data.select
        labels = split_labels(self.task, split)
        known = labels >= 0 if group is None else np.isin(labels, group)
        labelled = np.flatnonzero(known if labels.ndim == 1 else known.all(1))
        if not len(labelled):
            return None
        every = np.linspace(0, len(labelled) - 1, min(MOST_ROWS, len(labelled))).astype(np.int64)
        return replace(split, rows=split.rows[labelled[every]])

    @property
    def _has_classes(self) -> bool:
        return self.task.head.level == "sample" and self.task.head.is_labelled

    def _why_not(self) -> str:
        if not self._has_classes:
            return "only heads of classes of a sample can be asked"
        return "select has no labels, or the store does not hold its rows"

    def _heard(
        self,
        name: str,
        logits: NDArray[np.floating[Any]],
        split: Split,
        *,
        is_trusted: bool = False,
        group: Sequence[int] | None = None,
    ) -> list[str]:
        """What a teacher's answers are worth, as a sentence; none where they are fine.

        Answers of a `group` of classes are judged among these.

        Raises:
            UsageError: they are worth nothing, and nobody said to trust them.
        """
        classes = self.data.info.classes[self.task.head.name]
        labels = split_labels(self.task, split)
        if group is not None:
            if len(group) == 1:
                return [f"{name}: was not asked beforehand: it knows one class, and can only answer that"]
            classes = [classes[place] for place in group]
            order = np.argsort(group)
            labels = order[np.searchsorted(np.asarray(group)[order], labels)]
        found: AnswersCheck | LabelsCheck
        if self.task.head.activation == "sigmoid":
            found = check_label_answers(logits, labels)
            sentence = _labels_sentence(name, found)
        else:
            found = check_answers(logits.argmax(-1), labels, len(classes))
            sentence = _sentence(name, found, classes)
        if found.verdict not in ("chance", "other order"):
            return [sentence] if sentence else []
        if is_trusted:
            return [f"{sentence}; trusted all the same (trust_teacher)"]
        if self.is_smoke:
            return [f"{sentence}; a whole run would stop here"]
        raise UsageError(
            f"{sentence}; correct data.classes, the labels or its aliases; trust_teacher: true on its entry "
            "goes on all the same"
        )


def _is_trusted(reference: ModelSpec | str, recipe: Recipe) -> bool:
    """A stage's student is trusted where its own entry says so."""
    if isinstance(reference, ModelSpec):
        return reference.trust_teacher
    name = reference.removeprefix(STAGE)
    return any(recipe.stage_student(one).trust_teacher for one in recipe.stages if one.id == name)


def _labels_sentence(name: str, found: LabelsCheck) -> str:
    if found.verdict == "chance":
        return (
            f"{name}: is no better than chance, or its labels are in another order than the data's: "
            f"{found.detail} (99% bound {100 * found.high:.1f}%, more than {100 * found.floor:.1f}% expected)"
        )
    if found.verdict == "too few rows":
        return _too_few(name, found.n)
    return ""


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
        return _too_few(name, found.n)
    return ""


def _too_few(name: str, n: int) -> str:
    return f"{name}: {n:,} labelled select rows are too few to tell whether it is better than chance"
