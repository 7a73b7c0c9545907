"""How good a trained setting is on select, and whether two settings differ by more than noise."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.cache.folder import DONE, STUDENT
from compactor.evaluation import headline, split_labels, student_answers
from compactor.models.build import load_model_folder
from compactor.recommend.result import Difference
from compactor.run.planned import PlannedStage
from compactor.tasks import task_named
from compactor.trainer.fit import SELECT
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import bootstrap_difference, correct, wilson


@dataclass(frozen=True)
class Score:
    """A setting's figure on `n` select samples; `right` bool [S, n] of S seeds where answers can be."""

    figure: str
    values: list[float]
    n: int
    right: NDArray[np.bool_] | None = None

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95%: Wilson's of one seed, of several a bootstrap over samples; None without `right`."""
        if self.right is None:
            return None
        if len(self.right) == 1:
            return wilson(int(self.right.sum()), self.n)
        found = bootstrap_difference(np.zeros(self.n, bool), self.right)
        return found.low, found.high

    def minus(self, other: "Score") -> Difference | None:
        """This one minus another one on the same samples; None where none can be paired."""
        if self.right is None or other.right is None:
            return None
        found = bootstrap_difference(other.right, self.right)
        return Difference(points=100 * found.value, low=100 * found.low, high=100 * found.high)


def score(stages: list[PlannedStage]) -> Score:
    """Judge a trained setting, one stage a seed, on select.

    Raises:
        UsageError: nothing on select tells how good it is.
    """
    task, data = task_named(stages[0].task), stages[0].data
    labels = split_labels(task, data.select)
    if task.head.activation == "softmax" and (labels >= 0).any():
        right = []
        for stage in stages:
            model = load_model_folder(stage.folder / STUDENT)
            answers = student_answers(model, task.batches(data.select))
            right.append(correct(headline(task, data.select, answers), labels))
        found = np.stack(right)
        return Score("accuracy", [float(one.mean()) for one in found], found.shape[1], found)
    told = [_told(stage) for stage in stages]
    figure = next(iter(told[0]), "")
    if not figure:
        raise UsageError(
            f"recommend: nothing on select tells how good stage {stages[0].id} is; label some select rows, "
            "or let it learn from live teachers"
        )
    return Score(figure.replace("_", " "), [one[figure] for one in told], len(data.select))


def _told(stage: PlannedStage) -> dict[str, Any]:
    """The figures on select that the training ended with, the headline first."""
    last = json.loads((stage.folder / DONE).read_text(encoding="utf-8"))["history"][-1]
    return {name.removeprefix(SELECT): value for name, value in last.items() if name.startswith(SELECT)}
