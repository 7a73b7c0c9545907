"""Medians, percentiles and the number of samples that each percentile needs before it may be printed.

A percentile q is licensed by n samples when the largest of them is, with 99% confidence, an upper bound of
the true q-quantile: q^n <= 0.01. Below that n no upper bound exists: the percentile is `n/a`, not a guess.
"""

import math
from collections.abc import Sequence
from statistics import median

from msgspec import Struct

CONFIDENCE = 0.99


class Percentile(Struct, frozen=True, kw_only=True):
    """Percentile `q` of `n` samples; `needed` samples license it.

    `value_ns` is None when unlicensed; `upper_ns` is the upper confidence bound of the true quantile, None if
    there are too few samples for one (never for a licensed percentile above the median).
    """

    q: float
    value_ns: float | None
    upper_ns: int | None
    n: int
    needed: int

    def __str__(self) -> str:
        """Render as `2.21 ms (<= 2.30 ms)`, or `n/a (needs 459, has 300)`."""
        if self.value_ns is None:
            return f"n/a (needs {self.needed}, has {self.n})"
        bound = "" if self.upper_ns is None else f" (<= {format_ns(self.upper_ns)})"
        return format_ns(self.value_ns) + bound


class Spread(Struct, frozen=True, kw_only=True):
    """Median, median absolute deviation and range of `n` samples, and the median of each block in order."""

    n: int
    median_ns: float
    mad_ns: float
    min_ns: int
    max_ns: int
    block_medians_ns: list[float]

    @property
    def block_drift(self) -> float:
        """Largest block median over the smallest, minus 1 (0 for a single block)."""
        return max(self.block_medians_ns) / max(min(self.block_medians_ns), 1e-9) - 1


def samples_needed(q: float, *, confidence: float = CONFIDENCE) -> int:
    """Return the smallest n with q^n <= 1 - confidence.

    Read it as "n samples bound the q-quantile from above" or as "n successes in n trials prove a rate >= q".

    Raises:
        ValueError: `q` or `confidence` is not strictly between 0 and 1.
    """
    if not 0 < q < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"samples_needed: got q={q}, confidence={confidence}, expected both strictly between 0 and 1"
        )
    return max(1, math.ceil(math.log1p(-confidence) / math.log(q) - 1e-9))


def licence(q: float) -> int:
    """Samples needed to print percentile `q`: 1 up to the median, which is shown with count and spread."""
    return 1 if q <= 0.5 else samples_needed(q)


def percentile(samples_ns: Sequence[int], q: float) -> Percentile:
    """Estimate percentile `q` (0.5 is the ordinary median, others the nearest rank) with its 99% upper bound.

    Args:
        samples_ns: durations in nanoseconds, in any order.
        q: strictly between 0 and 1.

    Raises:
        ValueError: `q` is out of range.
    """
    if not 0 < q < 1:
        raise ValueError(f"percentile: got q={q}, expected strictly between 0 and 1")
    n, needed = len(samples_ns), licence(q)
    if n < needed:
        return Percentile(q=q, value_ns=None, upper_ns=None, n=n, needed=needed)
    ordered = sorted(samples_ns)
    # 0.07 * 100 is 7.000000000000001: without the slack the rank would be one too high
    value = median(ordered) if q == 0.5 else ordered[max(math.ceil(q * n - 1e-9), 1) - 1]
    rank = upper_rank(n, q)
    upper = None if rank is None else ordered[rank - 1]
    return Percentile(q=q, value_ns=float(value), upper_ns=upper, n=n, needed=needed)


def spread(samples_ns: Sequence[int], blocks: Sequence[int]) -> Spread:
    """Summarise samples; `blocks` holds the block id of each sample.

    Raises:
        ValueError: no samples, or the two lengths differ.
    """
    if not samples_ns or len(samples_ns) != len(blocks):
        raise ValueError(
            f"spread: got {len(samples_ns)} samples and {len(blocks)} block ids, expected as many, not 0"
        )
    middle = median(samples_ns)
    members: dict[int, list[int]] = {}
    for value, block in zip(samples_ns, blocks, strict=True):
        members.setdefault(block, []).append(value)
    return Spread(
        n=len(samples_ns),
        median_ns=float(middle),
        mad_ns=float(median(abs(value - middle) for value in samples_ns)),
        min_ns=min(samples_ns),
        max_ns=max(samples_ns),
        block_medians_ns=[float(median(members[block])) for block in sorted(members)],
    )


def upper_rank(n: int, q: float, *, confidence: float = CONFIDENCE) -> int | None:
    """Return the smallest rank k (from 1) whose sample bounds the q-quantile; None if even n is too low.

    X(k) >= quantile fails only if k or more of n samples lie below the quantile, so k is the smallest with
    P(Binomial(n, q) >= k) <= 1 - confidence.
    """
    allowed = 1 - confidence
    # beyond 12 standard deviations the tail is far below float64 resolution, so the sum may start there
    start = min(n, math.ceil(n * q + 12 * math.sqrt(n * q * (1 - q)) + 12))
    tail = 0.0
    for k in range(start, -1, -1):
        tail += math.exp(log_binomial_pmf(k, n, q))
        if tail > allowed * (1 + 1e-12):
            return k + 1 if k < n else None
    return 1


def log_binomial_pmf(k: int, n: int, p: float) -> float:
    """Natural logarithm of P(Binomial(n, p) = k) for 0 < p < 1 and 0 <= k <= n."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(p) + (n - k) * math.log1p(-p)


def format_ns(value_ns: float) -> str:
    """Render a duration with three significant digits and its unit: `850 ns`, `2.21 ms`, `1.32 s`."""
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        # 0.9995 of a unit would round up to "1e+03" of the smaller one
        if value_ns >= 0.9995 * scale:
            return f"{_three_digits(value_ns / scale)} {unit}"
    return f"{_three_digits(value_ns)} ns"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"
