"""Whether a student may be recommended at all, where the user has set no gate of his own; on select samples.

1. It is better than chance: its answers pass what teachers are asked (`answers_check.py`). Where nothing is
   labelled the teachers' answers are the labels; of vectors the rank correlation with the teachers'
   similarities counts, of any number of labels mAP (`labels_check.py`).
2. It errs at most twice as often as its teachers, beyond noise: given the errors of both, the student's
   share of them is not larger than two thirds (exact binomial test of two rates, Przyborowski and Wilenski
   1940, one-sided, 5%). It is not asked where `gates.student_vs_teacher` says what is accepted, or nothing is
   labelled. Of any number of labels a sample is right where all its decisions are, at the thresholds of each.
"""

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.evaluation import headline, split_labels, truth_labels
from compactor.recipe.spec import GatesSpec
from compactor.release.answers_check import OF_THE_WAY, at_least, check_answers
from compactor.release.labels_check import check_label_answers
from compactor.release.thresholds import Thresholds
from compactor.tasks import Answers, Task
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.report import BETTER_THAN_CHANCE, ERROR_RATIO
from compactor_runtimes.stats.metrics import correct, rank_correlation
from compactor_runtimes.stats.multi_label import decided, known_rows

MOST_TIMES = 2.0  # the teacher's error
LEVEL = 0.05


def readiness(
    task: Task,
    split: Split,
    gates: GatesSpec,
    *,
    student: Answers,
    teacher: Answers | None,
    thresholds: Thresholds | None = None,
) -> list[Check]:
    """Judge a student by rules 1 and 2.

    Args:
        task: says what answers are.
        split: select.
        gates: the user's own.
        student: what the torch student answers on the split.
        teacher: what its teachers answer there, where it has any.
        thresholds: of student and teachers, where any number of labels may be true.
    """
    found, said = headline(task, split, student), None if teacher is None else headline(task, split, teacher)
    if task.head.activation == "none":
        return [] if said is None else [_correlates(said, found)]
    labels = truth_labels(task, split, said)
    is_labelled = bool((split_labels(task, split) >= 0).any())
    compares = said is not None and is_labelled and gates.student_vs_teacher.max_drop_points is None
    if thresholds is not None:
        checks = [_labels_better_than_chance(found, labels)]
        if compares and said is not None:
            known = known_rows(labels)
            right = [
                (decided(one, limits) == labels)[known].all(-1)
                for one, limits in ((said, thresholds.teacher), (found, thresholds.student))
            ]
            checks.append(error_ratio(*right))
        return checks
    checks = [_better_than_chance(found, labels)] if task.head.level == "sample" else []
    if compares and said is not None:
        checks.append(error_ratio(correct(said, labels), correct(found, labels)))
    return checks


def _correlates(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> Check:
    """Rule 1 of vectors."""
    found = rank_correlation(teacher, student)
    return Check(
        name=BETTER_THAN_CHANCE,
        passed=found.high > OF_THE_WAY,
        value=found.high,
        observed=found.value,
        limit=OF_THE_WAY,
        n=len(student),
        detail=f"rank correlation with the teachers' vectors {found.value:.3f} on {len(student):,} samples",
    )


def _better_than_chance(found: NDArray[np.floating], labels: NDArray[np.int64]) -> Check:
    """Rule 1 of classes."""
    asked = check_answers(found.argmax(-1), labels, found.shape[-1])
    detail = f"balanced accuracy {100 * asked.balanced:.1f}% of {found.shape[-1]} classes, n {asked.n:,}"
    if asked.verdict == "other order":
        detail += (
            f"; with its classes in another order {100 * asked.reordered:.1f}% of a half are right, not "
            f"{100 * asked.accuracy:.1f}%"
        )
    return Check(
        name=BETTER_THAN_CHANCE,
        passed=asked.verdict in ("fine", "too few rows"),
        value=asked.high,
        observed=asked.balanced,
        limit=asked.floor,
        n=asked.n,
        detail=detail + ("; too few to tell" if asked.verdict == "too few rows" else ""),
    )


def _labels_better_than_chance(found: NDArray[np.floating], labels: NDArray[np.int64]) -> Check:
    """Rule 1 of any number of labels."""
    asked = check_label_answers(found, labels)
    return Check(
        name=BETTER_THAN_CHANCE,
        passed=asked.verdict != "chance",
        value=asked.high,
        observed=asked.value,
        limit=asked.floor,
        n=asked.n,
        detail=asked.detail + ("; too few to tell" if asked.verdict == "too few rows" else ""),
    )


def error_ratio(teacher_right: NDArray[np.bool_], student_right: NDArray[np.bool_]) -> Check:
    """Rule 2.

    Args:
        teacher_right: bool [N], whether the teachers are right.
        student_right: bool [N], whether the student is, on the same samples.
    """
    wrong, theirs, n = int((~student_right).sum()), int((~teacher_right).sum()), len(student_right)
    chance = at_least(wrong, wrong + theirs, MOST_TIMES / (1 + MOST_TIMES))
    times = f"{wrong / theirs:.2f} times as often, " if theirs else ""
    return Check(
        name=ERROR_RATIO,
        passed=chance > LEVEL,
        value=wrong / theirs if theirs else None,
        limit=MOST_TIMES,
        n=n,
        detail=(
            f"the student errs on {wrong:,} of {n:,} samples, its teachers on {theirs:,} ({times}"
            f"expected at most {MOST_TIMES:g} times; p {chance:.2g} if that held)"
        ),
    )
