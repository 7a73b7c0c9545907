"""Choose the confidence below which answers are rejected, on select alone, as a recipe's `reject` asks.

1. A threshold lies halfway between two neighbouring confidences of select, or is 0, which rejects nothing.
2. With a class out of scope: of the thresholds at which in-scope accuracy loses `max_drop_points` at most
   against no threshold, the one with the largest mean of in-scope accuracy and out-of-scope recall, of equals
   the lowest. An answer of that class counts as rejected; a rejected answer in scope as wrong.
3. With `keep`: the highest threshold that leaves that share of the answers.
4. The student's threshold ships, for all artifacts: they answer as it does within their limits, and the
   report shows what each of them does with it. The teachers, where they are compared, get one of their own.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Dataset, Split
from compactor.evaluation import split_labels, truth_labels
from compactor.recipe.spec import RejectSpec
from compactor.release.scores import Subject
from compactor.tasks import Answers, Task, task_named
from compactor_runtimes.bundle.manifest import Post, SoftmaxPost
from compactor_runtimes.errors import UsageError
from compactor_runtimes.report import RejectRow, reject_row
from compactor_runtimes.stats.metrics import IGNORE
from compactor_runtimes.stats.rejection import confidences

MAX_DROP_POINTS = 1.0
SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Rejection:
    """What was chosen: thresholds of student and teachers, and the class that means "none of these"."""

    student: float
    teacher: float | None
    none: int | None
    none_name: str

    def rows(self, subjects: list[Subject], labels: NDArray[np.int64], *, split: str) -> list[RejectRow]:
        """Score the student and the artifacts at its threshold, all teachers together at theirs.

        Args:
            subjects: who answered.
            labels: int64 [N], -100 where there is none.
            split: name of the split.
        """
        teachers = [subject for subject in subjects if subject.kind == "teacher"]
        rows = []
        for subject in subjects:
            threshold = self.teacher if subject.kind == "teacher" else self.student
            if threshold is None or (subject.kind == "teacher" and subject is not teachers[-1]):
                continue
            rows.append(
                reject_row(
                    subject.name,
                    subject.kind,
                    logits=subject.logits,
                    labels=labels,
                    threshold=threshold,
                    none=self.none,
                    none_name=self.none_name,
                    split=split,
                )
            )
        return rows

    def posts(self, posts: list[Post], head: str) -> list[Post]:
        """The manifest's entries with what rejects the answers of `head`."""
        return [
            msgspec.structs.replace(post, reject_below=self.student, reject_label=self.none_name or None)
            if isinstance(post, SoftmaxPost) and post.labels == head
            else post
            for post in posts
        ]


def require_rejectable(reject: RejectSpec | None, data: Dataset, *, smoke: bool = False) -> None:
    """Refuse a class out of scope that the data have not, or of which select shows nothing.

    Args:
        reject: what the recipe asks for; None asks for nothing.
        data: what the student is judged on.
        smoke: a handful of rows need not show every class.

    Raises:
        UsageError: says what is missing.
    """
    if reject is None or reject.out_of_scope is None:
        return
    task, name = task_named(data.task), reject.out_of_scope
    classes = data.info.classes[task.head.name]
    if name not in classes:
        close = get_close_matches(name, classes, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        more = ", ..." if len(classes) > SHOWN_CLASSES else ""
        raise UsageError(
            f"recipe reject.out_of_scope: {name!r} is none of the data's {len(classes)} classes; {hint}"
            f"known: {', '.join(classes[:SHOWN_CLASSES])}{more}"
        )
    labels = split_labels(task, data.select)
    known = labels[labels != IGNORE]
    outside = int((known == classes.index(name)).sum())
    if smoke or not len(known) or 0 < outside < len(known):
        return
    found = f"no row of class {name!r}" if not outside else f"rows of class {name!r} alone"
    raise UsageError(
        f"recipe reject.out_of_scope: the select split has {found}, so no threshold can be chosen; give it "
        "rows of both, or use reject: {keep: 0.95}"
    )


def choose_rejection(
    reject: RejectSpec, task: Task, data: Dataset, *, student: Answers, teacher: Answers | None
) -> Rejection:
    """Choose the thresholds from what student and teachers answer on select; see the rules above."""
    select, head = data.select, task.head.name
    labels = truth_labels(task, select, None if teacher is None else teacher[head])
    none = None
    if reject.out_of_scope is not None:
        none = data.info.classes[head].index(reject.out_of_scope)
    return Rejection(
        student=threshold_for(reject, student[head], labels, none),
        teacher=None if teacher is None else threshold_for(reject, teacher[head], labels, none),
        none=none,
        none_name=reject.out_of_scope or "",
    )


def threshold_for(
    reject: RejectSpec, logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], none: int | None
) -> float:
    """The threshold of one model by the rules above.

    Args:
        reject: how it is chosen.
        logits: [N, C].
        labels: [N], -100 where there is none.
        none: index of the class out of scope, where there is one.
    """
    confidence = confidences(logits)
    values = np.unique(confidence)
    candidates = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2])  # rule 1

    def below(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of the rows each candidate rejects."""
        return np.searchsorted(np.sort(confidence[rows]), candidates)

    if none is None:  # rule 3
        assert reject.keep is not None  # checked when the recipe was loaded
        spare = np.floor((1 - reject.keep) * len(confidence) + 1e-9)
        return float(candidates[below(np.ones(len(confidence), bool)) <= spare][-1])
    top = logits.argmax(-1)  # rule 2
    outside = labels == none
    inside = (labels != IGNORE) & ~outside
    lost = below(inside & (top == labels))
    found = below(outside & (top != none))
    drop = MAX_DROP_POINTS if reject.max_drop_points is None else reject.max_drop_points
    gain = found / max(int(outside.sum()), 1) - lost / max(int(inside.sum()), 1)
    allowed = lost <= drop / 100 * inside.sum() + 1e-9
    return float(candidates[np.where(allowed, gain, -np.inf).argmax()])


def told(rejection: Rejection, split: Split) -> str:
    """The choice in a line."""
    also = f" or as {rejection.none_name!r}" if rejection.none_name else ""
    return (
        f"answers are rejected below a confidence of {rejection.student:.4g}{also}, chosen on "
        f"{len(split):,} {split.name} samples"
    )
