"""How many times as long one measured thing takes as another, and whether that is more than noise.

1. Two that took turns in one session are compared in pairs: the ratio of their medians in each block. Its
   estimate is the Hodges-Lehmann one on a logarithmic scale, its 99% interval that of Wilcoxon's signed ranks
   (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.2 and 3.3).
2. Others by all ratios between their block medians, with the interval of the rank sum (sections 4.2 and 4.3).
3. Where the blocks are too few for an interval of 99%, the extreme ratios bound it, and only what lies apart
   altogether is no noise. A single block on a side says nothing of how far blocks scatter: noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from compactor_runtimes.stats.metrics import Verdict
from compactor_runtimes.stats.percentiles import CONFIDENCE, Spread

_EXACT = 30  # blocks up to which the distribution of ranks is counted out; beyond, it is normal to a hair


@dataclass(frozen=True)
class Timing:
    """Median time and the medians of its blocks in order, in ns; those of one `session` took turns."""

    median_ns: float
    blocks_ns: tuple[float, ...]
    session: str = ""


@dataclass(frozen=True)
class TimeRatio:
    """Time of b over time of a, below 1 is faster, with its interval (of 99%, unless rule 3 holds)."""

    value: float
    low: float
    high: float
    verdict: Verdict


def timing_of(spread: Spread, session: str = "") -> Timing:
    """The timing of one measurement."""
    return Timing(spread.median_ns, tuple(spread.block_medians_ns), session)


def time_ratio(a: Timing, b: Timing) -> TimeRatio:
    """Compare b with a: "better" is faster."""
    own, other = ([math.log(value) for value in one.blocks_ns] for one in (b, a))
    if a.session and a.session == b.session and len(own) == len(other):
        ratios = [y - x for x, y in zip(other, own, strict=True)]
        shifts = [(x + y) / 2 for i, x in enumerate(ratios) for y in ratios[i:]]
        skipped = _skipped(
            _signed_ranks(len(ratios)) if len(ratios) <= _EXACT else None, *_signed(len(ratios))
        )
    else:
        shifts = [y - x for y in own for x in other]
        exact = max(len(own), len(other)) <= _EXACT
        skipped = _skipped(
            _rank_sums(len(own), len(other)) if exact else None, *_summed(len(own), len(other))
        )
    if skipped is None:
        low, high = min(own) - max(other), max(own) - min(other)
        value = b.median_ns / a.median_ns
        apart = min(len(own), len(other)) > 1 and (high < 0 or low > 0)
    else:
        shifts.sort()
        low, high = shifts[skipped], shifts[-1 - skipped]
        value = math.exp(median(shifts))
        apart = high < 0 or low > 0
    return TimeRatio(
        value=value,
        low=math.exp(low),
        high=math.exp(high),
        verdict="noise" if not apart else "better" if high < 0 else "worse",
    )


def _skipped(counts: Sequence[int] | None, mean: float, deviation: float) -> int | None:
    """How many of the sorted shifts lie outside the interval at each end; None where none can be had.

    Args:
        counts: how many orders give each value of the rank statistic, from 0 on; None takes the normal.
        mean: of the statistic where there is no difference.
        deviation: its standard deviation.
    """
    tail = (1 - CONFIDENCE) / 2
    if counts is None:
        return max(math.floor(mean + NormalDist().inv_cdf(tail) * deviation), 0)
    total, below = sum(counts), 0
    for value, count in enumerate(counts):
        below += count
        if below > tail * total:
            return value - 1 if value else None
    raise AssertionError("the tail holds less than everything")


def _signed_ranks(n: int) -> list[int]:
    """In how many ways signs give each sum of positive ranks 1..n."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return counts


def _rank_sums(m: int, n: int) -> list[int]:
    """In how many orders of m and n values each number of pairs is reversed: Gauss's binomial coefficient."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for total in range(len(counts) - 1, n + i - 1, -1):
            counts[total] -= counts[total - n - i]
        for total in range(i, len(counts)):
            counts[total] += counts[total - i]
    return counts


def _signed(n: int) -> tuple[float, float]:
    """Mean and deviation of the sum of positive ranks."""
    return n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)


def _summed(m: int, n: int) -> tuple[float, float]:
    """Mean and deviation of the number of reversed pairs."""
    return m * n / 2, math.sqrt(m * n * (m + n + 1) / 12)
