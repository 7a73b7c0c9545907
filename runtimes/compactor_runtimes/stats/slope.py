"""The slope of a line through noisy points, without assuming how they scatter: Theil and Sen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

LEAST_POINTS = 8
_MOST_POINTS = 200  # 20,000 pairs are plenty


@dataclass(frozen=True)
class Slope:
    """Median of the slopes of all pairs of points, with its 95% interval."""

    value: float
    low: float
    high: float


def slope(x: Sequence[float], y: Sequence[float]) -> Slope | None:
    """Fit the slope of y on x, points in the order of x; None of fewer than 8 points or one x alone.

    The interval inverts Kendall's test (Sen 1968; Hollander, Wolfe and Chicken, section 9.3).
    """
    step = max(1, math.ceil(len(x) / _MOST_POINTS))
    points = list(zip(x, y, strict=True))[::step]
    slopes = sorted(
        (v2 - v1) / (u2 - u1) for i, (u1, v1) in enumerate(points) for u2, v2 in points[i + 1 :] if u2 != u1
    )
    n = len(points)
    if n < LEAST_POINTS or not slopes:
        return None
    width = NormalDist().inv_cdf(0.975) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    left_out = max(math.floor((len(slopes) - width) / 2), 0)
    return Slope(median(slopes), slopes[left_out], slopes[-1 - left_out])
