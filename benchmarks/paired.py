"""Which of many arms are ahead of one: paired differences with the noise of samples and of seeds, after Holm.

Bootstraps over samples alone take three seeds for the truth, although two trainings of one arm differ by more
than their samples say. Here the variance of a difference of seed-averaged accuracies is that of its mean over
the samples, plus that of the seeds: the pooled variance of seeds within arms, over the seeds of both.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z_95 = 1.959964


@dataclass(frozen=True)
class Difference:
    """What an arm's mean is above another's, as a share, its 95% interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float


def seed_variance(arms: "Mapping[str, NDArray[np.bool_]]") -> float:
    """Variance of a training's accuracy between seeds, pooled over arms [seeds, N] of two seeds or more.

    The samples of all seeds are the same, so that this is the noise of training and not that of sampling.
    """
    several = [right.mean(1) for right in arms.values() if len(right) > 1]
    freedom = sum(len(one) - 1 for one in several)
    return sum(float(((one - one.mean()) ** 2).sum()) for one in several) / freedom if freedom else 0.0


def difference(
    before: "NDArray[np.bool_]", after: "NDArray[np.bool_]", *, seeds_variance: float
) -> Difference:
    """Compare two arms [seeds, N] on the same samples."""
    each = after.mean(0) - before.mean(0)
    value = float(each.mean())
    of_samples = float(each.var(ddof=1)) / len(each)
    error = math.sqrt(of_samples + seeds_variance * (1 / len(before) + 1 / len(after)))
    p = math.erfc(abs(value) / error / math.sqrt(2)) if error else float(value == 0)
    return Difference(value, value - Z_95 * error, value + Z_95 * error, p)


def rejected_by_holm(p_values: Mapping[str, float], level: float = 0.05) -> set[str]:
    """The hypotheses that Holm's step-down rule rejects (Scandinavian Journal of Statistics, 1979).

    The smallest p is held against level / m, the next against level / (m - 1), until one is too large.
    """
    rejected: set[str] = set()
    for done, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        if p_values[name] > level / (len(p_values) - done):
            break
        rejected.add(name)
    return rejected
