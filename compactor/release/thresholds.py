"""Choose from which probability on each label is answered, on select alone.

1. The threshold of a label is the one with the largest F1 on the select rows that have labels, of equals the
   lowest; it lies halfway between two neighbouring probabilities, or between 0 and the smallest. A label that
   no such row has, and every label where nothing is labelled, has 0.5.
2. The student's thresholds ship, for all artifacts: they answer as it does within their limits. The teachers,
   where they are compared, get their own.
"""

from dataclasses import dataclass

import msgspec

from compactor.data.splits import Split
from compactor.evaluation import split_labels
from compactor.tasks import Answers, Task
from compactor_runtimes.bundle.manifest import Post, SigmoidPost
from compactor_runtimes.stats.multi_label import THRESHOLD, best_thresholds, known_rows
from compactor_runtimes.stats.sigmoid import sigmoid


@dataclass(frozen=True)
class Thresholds:
    """The thresholds [C] of the student, and those of all teachers together."""

    student: list[float]
    teacher: list[float]

    def posts(self, posts: list[Post], head: str) -> list[Post]:
        """The manifest's entries with the student's thresholds for the labels of `head`."""
        return [
            msgspec.structs.replace(post, thresholds=self.student)
            if isinstance(post, SigmoidPost) and post.labels == head
            else post
            for post in posts
        ]


def choose_thresholds(
    task: Task, select: Split, *, student: Answers, teacher: Answers | None
) -> Thresholds | None:
    """Choose by the rules above; None where a sample's labels exclude each other."""
    if task.head.activation != "sigmoid":
        return None
    labels, head = split_labels(task, select), task.head.name

    def chosen(answers: Answers | None) -> list[float]:
        if answers is None or not known_rows(labels).any():
            return [THRESHOLD] * labels.shape[1]
        return best_thresholds(sigmoid(answers[head]), labels)

    return Thresholds(chosen(student), chosen(teacher))


def told(thresholds: Thresholds, names: list[str], split: Split) -> str:
    """The choice in a line."""
    found = thresholds.student
    pairs = ", ".join(f"{name} {value:.3f}" for name, value in list(zip(names, found, strict=True))[:6])
    return (
        f"each label is answered from a probability of its own on, chosen on {len(split):,} {split.name} "
        f"samples: {pairs}{', ...' if len(found) > 6 else ''}"
    )
