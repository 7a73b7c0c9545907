"""Whether answers of any number of labels have anything to do with the labels: mAP above that of chance.

1. Scores that know nothing have a mean average precision of about the labels' mean prevalence. Answers have
   to go a tenth of the way from there to 1, as the balanced accuracy of classes has (`answers_check.py`).
2. The bounds are one-sided, 99%, of a bootstrap over samples. Answers are no better than chance if the upper
   one does not reach that far; if only the lower one does not, the rows are too few to tell.

Labels in another order than the data's have the mAP of chance, so that they are found out too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compactor.release.answers_check import OF_THE_WAY, Verdict
from compactor_runtimes.stats.multi_label import (
    average_precisions,
    chance_map,
    known_rows,
    mean_average_precision,
    resampled_map,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONE_SIDED = 0.01


@dataclass(frozen=True)
class LabelsCheck:
    """What rules 1 and 2 say of n labelled rows: mAP with its bounds, and how far it has to go."""

    verdict: Verdict
    n: int
    value: float
    low: float
    high: float
    chance: float
    floor: float

    @property
    def detail(self) -> str:
        """The numbers in words."""
        return (
            f"mAP {100 * self.value:.1f}% on {self.n:,} select rows, where labels in any order have "
            f"{100 * self.chance:.1f}%"
        )


def check_label_answers(logits: "NDArray[np.floating]", labels: "NDArray[np.int64]") -> LabelsCheck:
    """Judge logits [N, C] against labels [N, C]; rows of -100 are left out."""
    n, chance = int(known_rows(labels).sum()), chance_map(labels)
    floor = chance + OF_THE_WAY * (1 - chance)
    if not np.isfinite(average_precisions(logits, labels)).any():
        return LabelsCheck("too few rows", n, 0.0, 0.0, 1.0, chance, floor)
    value = mean_average_precision(logits, labels)
    low, high = np.nanquantile(resampled_map(logits, labels), [ONE_SIDED, 1 - ONE_SIDED])
    low, high = min(float(low), value), max(float(high), value)
    verdict: Verdict = "chance" if high <= floor else "fine" if low > floor else "too few rows"
    return LabelsCheck(verdict, n, value, low, high, chance, floor)
