"""How many times as long one measured thing takes as another, and whether that is more than noise."""

from dataclasses import dataclass

from compactor_runtimes.stats.metrics import Verdict
from compactor_runtimes.stats.percentiles import Spread


@dataclass(frozen=True)
class Timing:
    """Median time, the lowest and the highest of the block medians, in ns, and the number of blocks."""

    median_ns: float
    low_ns: float
    high_ns: float
    blocks: int


@dataclass(frozen=True)
class TimeRatio:
    """Time of b over time of a: below 1 is faster; `low` to `high` from the extreme block medians."""

    value: float
    low: float
    high: float
    verdict: Verdict


def timing_of(spread: Spread) -> Timing:
    """The timing of one measurement."""
    blocks = spread.block_medians_ns
    return Timing(spread.median_ns, min(blocks), max(blocks), len(blocks))


def time_ratio(a: Timing, b: Timing) -> TimeRatio:
    """Compare b with a: "better" is faster, and "noise" where the block medians overlap.

    With a single block on a side nothing says how far blocks scatter, so that is noise as well.
    """
    low, high = b.low_ns / a.high_ns, b.high_ns / a.low_ns
    apart = min(a.blocks, b.blocks) > 1 and (high < 1 or low > 1)
    return TimeRatio(
        value=b.median_ns / a.median_ns,
        low=low,
        high=high,
        verdict="noise" if not apart else "better" if high < 1 else "worse",
    )
