"""How a percentile of one measured thing relates to another's, where single blocks do not carry it.

Samples of one block share the machine's state, so whole blocks are drawn again, never single samples.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

from compactor_runtimes.stats.percentiles import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000


def percentile_ratio(
    a: Sequence[Sequence[int]],
    b: Sequence[Sequence[int]],
    q: float,
    *,
    paired: bool,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float, float]:
    """Estimate percentile `q` of b over that of a, with its 99% interval (value, low, high).

    Each resample draws blocks with replacement and takes the nearest rank among all their samples. The
    percentile interval of few blocks is too narrow; its halves are stretched on the logarithmic scale by
    sqrt(k / (k - 1)) times Student's t over the normal quantile, k the fewer of both sides' blocks
    (Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015, 4.2).

    Args:
        a: samples of each block in ns, two blocks at least.
        b: the same of the other one.
        q: strictly between 0 and 1.
        paired: blocks of one place took turns, so that both sides draw the same places.
        seed: of the drawing.
        resamples: how often.

    Raises:
        ValueError: fewer than two blocks on a side, or as many as no pairs can be made of.
    """
    import numpy as np

    fewest = min(len(a), len(b))
    if fewest < 2 or (paired and len(a) != len(b)):
        raise ValueError(
            f"percentile_ratio: got {len(a)} and {len(b)} blocks, expected 2 or more, in pairs as many"
        )
    rng = np.random.default_rng(seed)
    drawn_a = _draw(rng, len(a), resamples)
    drawn_b = drawn_a if paired else _draw(rng, len(b), resamples)
    once = [np.ones((1, len(side)), np.int64) for side in (a, b)]
    value = math.log(_percentiles(b, once[1], q)[0] / _percentiles(a, once[0], q)[0])
    ratios = np.log(_percentiles(b, drawn_b, q) / _percentiles(a, drawn_a, q))
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(each) for each in np.quantile(ratios, [tail, 1 - tail]))
    stretch = (
        math.sqrt(fewest / (fewest - 1)) * _student(1 - tail, fewest - 1) / NormalDist().inv_cdf(1 - tail)
    )
    return (
        math.exp(value),
        math.exp(min(value + stretch * (low - value), value)),
        math.exp(max(value + stretch * (high - value), value)),
    )


def _draw(rng: "np.random.Generator", blocks: int, resamples: int) -> "NDArray[np.int64]":
    """How often each block is drawn, int64 [R, K]."""
    return rng.multinomial(blocks, [1 / blocks] * blocks, size=resamples)


def _percentiles(
    blocks: Sequence[Sequence[int]], counts: "NDArray[np.int64]", q: float
) -> "NDArray[np.float64]":
    """Percentile `q` by the nearest rank among the samples of the drawn blocks, float64 [R].

    Args:
        blocks: K of them.
        counts: how often each is drawn, int64 [R, K].
        q: strictly between 0 and 1.
    """
    import numpy as np

    samples = np.concatenate([np.asarray(block, np.int64) for block in blocks])
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(samples, kind="stable")
    # below[i, k]: how many of block k's samples are among the i + 1 smallest of all
    below = np.cumsum(owner[order, None] == np.arange(len(blocks)), axis=0, dtype=np.int32)
    rank = np.maximum(np.ceil(q * (counts @ below[-1]) - 1e-9), 1)  # as in `percentiles.percentile`
    low, high = np.zeros(len(counts), np.int64), np.full(len(counts), len(samples) - 1)
    while (low < high).any():  # halve between the ends until each stands at the first place with that rank
        middle = (low + high) // 2
        reached = (counts * below[middle]).sum(1) >= rank
        low, high = np.where(reached, low, np.minimum(middle + 1, high)), np.where(reached, middle, high)
    return cast("NDArray[np.float64]", np.maximum(samples[order][low], 1).astype(np.float64))


def _student(p: float, freedom: int) -> float:
    """Quantile of Student's t by its expansion (Abramowitz and Stegun, 26.7.5); good from 5 degrees on."""
    x = NormalDist().inv_cdf(p)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
