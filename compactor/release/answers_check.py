"""Whether a classifier's answers have anything to do with the labels: better than chance, in the right order.

1. Balanced accuracy is the mean of the recalls of the classes that have rows. Its bounds are one-sided, 99%:
   value -+ z * sqrt(sum p(1 - p) / n) / K over the K classes, where each class's p is drawn towards a half by
   z^2 / 2 rows of either kind (Agresti and Coull), so that few rows bound little.
2. It is no better than chance if the upper bound does not lie above 1/C by a tenth of the way to 1; if only
   the lower bound does not, the rows are too few to tell.
3. The order of classes that fits best is found on one half of the rows (an assignment problem on the table of
   answers and labels). It is right if on the other half it turns so many more wrong answers right than right
   ones wrong that a fair coin would do so once in 100 times (exact sign test).
"""

from dataclasses import dataclass, replace
from math import comb, erfc, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z99 = 2.3263478740408408  # one-sided 99% of the normal distribution
LEVEL = 0.01
OF_THE_WAY = 0.1  # from chance to perfection, that an answer has to go
SEED = 0  # of the halves
EXACT_UP_TO = 1_000  # trials of a binomial test
Verdict = Literal["fine", "chance", "other order", "too few rows"]


@dataclass(frozen=True)
class AnswersCheck:
    """What rules 1 to 3 say of n labelled rows.

    `order` is the better order: the class that each answer seems to mean; None where there is none.
    `accuracy` and `reordered` are those of the second half, as answered and in that order.
    """

    verdict: Verdict
    n: int
    balanced: float
    low: float
    high: float
    floor: float
    order: tuple[int, ...] | None = None
    accuracy: float = 0.0
    reordered: float = 0.0


def check_answers(
    answered: "NDArray[np.int64]", labels: "NDArray[np.int64]", num_classes: int
) -> AnswersCheck:
    """Judge answers by rules 1 to 3.

    Args:
        answered: int64 [N], the class that was answered.
        labels: int64 [N]; rows with a negative label, or one that is no class, are left out.
        num_classes: C.
    """
    known = (labels >= 0) & (labels < num_classes)
    answered, labels = answered[known], labels[known]
    balanced, low, high = balanced_accuracy(answered, labels, num_classes)
    floor = 1 / num_classes + OF_THE_WAY * (1 - 1 / num_classes)
    verdict: Verdict = "chance" if high <= floor else "fine" if low > floor else "too few rows"
    found = AnswersCheck(verdict, n=len(labels), balanced=balanced, low=low, high=high, floor=floor)
    order, own, other = better_order(answered, labels, num_classes)
    if order is None:
        return found
    return replace(found, verdict="other order", order=order, accuracy=own, reordered=other)


def balanced_accuracy(
    answered: "NDArray[np.int64]", labels: "NDArray[np.int64]", num_classes: int
) -> tuple[float, float, float]:
    """Mean recall of the classes that have rows, with its bounds (rule 1); 0 to 1 without any row."""
    rows = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[answered == labels], minlength=num_classes)
    present = rows > 0
    n, x = rows[present].astype(float), right[present].astype(float)
    if not len(n):
        return 0.0, 0.0, 1.0
    drawn = (x + Z99**2 / 2) / (n + Z99**2)
    value, wide = float((x / n).mean()), Z99 * float(np.sqrt((drawn * (1 - drawn) / n).sum())) / len(n)
    return value, max(value - wide, 0.0), min(value + wide, 1.0)


def better_order(
    answered: "NDArray[np.int64]", labels: "NDArray[np.int64]", num_classes: int
) -> tuple[tuple[int, ...] | None, float, float]:
    """The order that beats the answers' own (rule 3), and the accuracies of both on the second half."""
    rows = np.random.default_rng(SEED).permutation(len(labels))
    first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    if not len(first):
        return None, 0.0, 0.0
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (answered[first], labels[first]), 1)
    order = _assigned(table)
    own = answered[second] == labels[second]
    other = order[answered[second]] == labels[second]
    gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
    if gained == 0 or at_least(gained, gained + lost, 0.5) > LEVEL:
        return None, float(own.mean()), float(other.mean())
    return tuple(order.tolist()), float(own.mean()), float(other.mean())


def _assigned(table: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """The class of each answer so that most rows agree; one that nobody gave keeps its own if it can."""
    size = len(table)
    weights = table * (size + 1.0) + np.eye(size)  # a tie is the identity's
    if (weights.argmax(axis=1) == np.arange(size)).all():  # more than each row's largest no order can have
        return np.arange(size, dtype=np.int64)
    from scipy.optimize import linear_sum_assignment  # itself half a second of importing

    _, columns = linear_sum_assignment(weights, maximize=True)
    return np.asarray(columns, dtype=np.int64)


def at_least(k: int, n: int, p: float) -> float:
    """How likely a binomial variable is k or more; above EXACT_UP_TO by the normal distribution."""
    if n > EXACT_UP_TO:
        return erfc((k - 0.5 - n * p) / sqrt(2 * n * p * (1 - p))) / 2
    return float(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)))
