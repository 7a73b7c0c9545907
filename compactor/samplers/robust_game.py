"""Robust active distillation in closed form: how to spread queries over samples if some answers are wrong.

Baykal et al., "Robust Active Distillation" (ICLR 2023): maximise over distributions p the value
min over |S| = m of sum_{i not in S} p_i g_i, where g_i >= 0 is what a right answer on sample i is worth and
the m answers in S, chosen by an adversary, are wrong.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 1e-12  # of the largest gain; what is worth nothing has a place in the order, but no finite share


def gains_of(p: Floats, kind: Literal["margin", "entropy"]) -> Floats:
    """What an answer on each sample is worth, >= 0, by a student's probabilities [n, C].

    `margin`: 1 - (largest - second largest); `entropy`: -sum p log p (nats).
    """
    if kind == "entropy":
        return np.asarray(-(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny))).sum(1).clip(max=0))
    largest = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(1 - (largest[:, 1] - largest[:, 0]))


def robust_distribution(gains: Floats, wrong: int) -> Floats:
    """The optimal p, [n], for m = `wrong` wrong answers.

    With gains in descending order and H_k = sum_{i <= k} 1/g_i, k* = argmax over k > m of (k - m) / H_k, and
    p_i = (1/g_i) / H_{k*} for i <= k*, else 0: of those that are asked, what is worth more is asked less
    often, so that every wrong answer costs the same. The value is (k* - m) / H_{k*}.

    Raises:
        ValueError: all answers are wrong, so that no distribution is better than another.
    """
    n = len(gains)
    if not 0 <= wrong < n:
        raise ValueError(f"wrong: got {wrong}, expected 0 to {n - 1}, fewer than there are gains")
    order, inverse = _descending(gains)
    sums = np.cumsum(inverse)
    ks = np.arange(1, n + 1)
    best = wrong + int(np.argmax((ks[wrong:] - wrong) / sums[wrong:])) + 1
    p = np.zeros(n)
    p[order[:best]] = inverse[:best] / sums[best - 1]
    return p


def marginals(p: Floats, gains: Floats, budget: int) -> Floats:
    """How probably each sample is among `budget` picks: min(1, b p_i), what is too much redistributed.

    Where fewer samples than the budget have a share, those of the next largest gains join them. Without a cap
    that binds, this is the optimum of the game with budget b, whose value is b times that of p.

    Returns:
        [n] in [0, 1], of sum b.

    Raises:
        ValueError: the budget is larger than the number of samples.
    """
    if not 0 <= budget <= len(p):
        raise ValueError(f"budget: got {budget}, expected 0 to {len(p)}, the number of samples")
    order, inverse = _descending(gains)
    asked = max(int((p > 0).sum()), budget)
    share = inverse[:asked]  # ascending, so that the last ones reach 1 first
    capped = 0
    while budget > capped and share[asked - capped - 1] * (budget - capped) > share[: asked - capped].sum():
        capped += 1
    q = np.zeros(len(p))
    free = asked - capped
    q[order[free:asked]] = 1.0
    if budget > capped:
        q[order[:free]] = np.minimum(share[:free] * ((budget - capped) / share[:free].sum()), 1.0)
    return q


def pick(q: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw exactly sum(q) positions, each i with probability q_i: dependent rounding.

    Systematic sampling in a random order: picks are where the running sum of q passes u, u + 1, u + 2, ...
    with one u drawn from [0, 1).
    """
    certain = np.flatnonzero(q == 1)
    order = rng.permutation(np.flatnonzero((q > 0) & (q < 1)))
    count = round(float(q.sum())) - len(certain)
    if not count:
        return certain
    sums = np.cumsum(q[order])
    sums *= count / sums[-1]  # rounding must not lose the last one
    places = np.searchsorted(sums, np.arange(count) + rng.random(), side="right")
    return np.union1d(certain, order[places.clip(max=len(order) - 1)])


def _descending(gains: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Positions by descending gain (ties by position), and 1/g in that order, scaled by the largest gain."""
    order = np.argsort(-gains, kind="stable")
    top = float(gains.max(initial=0.0)) or 1.0
    return order, 1.0 / np.maximum(gains[order] / top, LEAST)
