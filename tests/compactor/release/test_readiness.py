"""Whether a student may be recommended: better than chance, and at most twice its teachers' error."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from compactor.recipe.spec import GatesSpec, VsTeacherGate
from compactor.release.readiness import error_ratio, readiness
from compactor.tasks.image_classification import TASK
from compactor_runtimes.report import BETTER_THAN_CHANCE, ERROR_RATIO
from tests import toys


def right(n: int, wrong: int) -> NDArray[np.bool_]:
    return np.arange(n) >= wrong


@pytest.mark.parametrize(
    ("teacher", "student", "n", "passes"),
    [
        (72, 284, 360, False),  # 59 points below
        (72, 144, 360, True),  # twice
        (0, 7, 360, True),  # of 7 errors all are the student's: p (2/3)^7 = 0.059
        (0, 8, 360, False),  # p (2/3)^8 = 0.039
        (25, 74, 1000, True),
        (25, 76, 1000, False),
        (0, 0, 50, True),
        (600, 1000, 1000, True),  # twice as often is not to be had; chance is another gate's
        (2_000, 4_600, 100_000, False),  # many errors: by the normal distribution
        (2_000, 4_050, 100_000, True),
    ],
)
def test_a_student_may_err_twice_as_often_as_its_teachers_beyond_noise(
    teacher: int, student: int, n: int, passes: bool
) -> None:
    check = error_ratio(right(n, teacher), right(n, student))
    assert (check.name, check.passed, check.n) == (ERROR_RATIO, passes, n)
    assert f"errs on {student:,} of {n:,} samples" in check.detail


def answers(labels: NDArray[np.int64], wrong: float, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Logits that are wrong on a share of the samples, at random."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < wrong, (labels + 1) % 3, labels)
    return {"label": np.eye(3, dtype=np.float32)[said]}


def verdicts(student: float, teacher: float | None, gates: GatesSpec | None = None) -> dict[str, bool]:
    split = toys.split(300)
    labels = split.labels["label"]
    said = None if teacher is None else answers(labels, teacher, 1)
    checks = readiness(TASK, split, gates or GatesSpec(), student=answers(labels, student), teacher=said)
    return {check.name: check.passed for check in checks}


def test_the_rules_in_turn() -> None:
    assert verdicts(0.05, 0.05) == {BETTER_THAN_CHANCE: True, ERROR_RATIO: True}
    assert verdicts(0.4, 0.05) == {BETTER_THAN_CHANCE: True, ERROR_RATIO: False}
    assert verdicts(0.7, 0.5) == {BETTER_THAN_CHANCE: False, ERROR_RATIO: True}
    assert verdicts(1.0, None) == {BETTER_THAN_CHANCE: False}  # every answer is another class's
    own = GatesSpec(student_vs_teacher=VsTeacherGate(max_drop_points=60))
    assert verdicts(0.4, 0.05, own) == {BETTER_THAN_CHANCE: True}  # the user said what is accepted


def test_without_labels_the_teachers_answers_are_what_a_student_is_held_against() -> None:
    split = toys.split(300)
    truth = split.labels["label"]
    unlabelled = replace(split, labels={"label": np.full(300, -100)})
    said = answers(truth, 0.0)
    good = readiness(TASK, unlabelled, GatesSpec(), student=answers(truth, 0.1), teacher=said)
    assert [(one.name, one.passed) for one in good] == [(BETTER_THAN_CHANCE, True)]
    bad = readiness(TASK, unlabelled, GatesSpec(), student=answers(truth, 1.0), teacher=said)
    assert [(one.name, one.passed) for one in bad] == [(BETTER_THAN_CHANCE, False)]
