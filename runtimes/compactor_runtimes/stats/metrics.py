"""Accuracy, agreement, divergence, calibration, and the paired statistics that tell a difference from noise.

Arrays are numpy, computed in float64. Positions labelled -100 are ignored everywhere. Every difference is
`b - a`: what going from a to b gained, so a negative one is a loss.
"""

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct

from compactor_runtimes.stats import classes as class_metrics
from compactor_runtimes.stats import embeddings as embedding_metrics
from compactor_runtimes.stats import percentiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

IGNORE = -100
Verdict = Literal["noise", "better", "worse"]


class McNemar(Struct, frozen=True, kw_only=True):
    """Discordant pairs: `b` where only a is right, `c` where only b is right; `p` exact, two-sided."""

    b: int
    c: int
    p: float


class Interval(Struct, frozen=True, kw_only=True):
    """A value with its 95% interval, over `n` samples."""

    value: float
    low: float
    high: float
    n: int


def correct(logits: "ArrayLike", labels: "ArrayLike") -> "NDArray[np.bool_]":
    """Tell for each labelled position whether the top class is right.

    Args:
        logits: [..., C].
        labels: [...] class indices, -100 where there is none.

    Returns:
        bool [M], M = labelled positions, in order.

    Raises:
        ValueError: the shapes do not match, or no position is labelled.
    """
    scores, truth = _rows(logits, labels, "correct")
    return cast("NDArray[np.bool_]", scores.argmax(-1) == truth)


def accuracy(logits: "ArrayLike", labels: "ArrayLike") -> float:
    """Share of labelled positions whose top class is right; logits [..., C], labels [...]."""
    return float(correct(logits, labels).mean())


def macro_f1(logits: "ArrayLike", labels: "ArrayLike") -> float:
    """Mean F1 over the classes that are there or were answered; logits [..., C], labels [...]."""
    scores, truth = _rows(logits, labels, "macro_f1")
    known = max(scores.shape[-1], int(truth.max()) + 1)  # a class that nobody can answer counts as missed
    counts = class_metrics.confusion_counts(truth, scores.argmax(-1), known)
    return class_metrics.mean_f1(counts)


def agreement(a_logits: "ArrayLike", b_logits: "ArrayLike", labels: "ArrayLike | None" = None) -> float:
    """Share of positions where both logits [..., C] have the same top class; `labels` says which count."""
    a, b = _pair(a_logits, b_logits, labels, "agreement")
    return float((a.argmax(-1) == b.argmax(-1)).mean())


def mean_kl(p_logits: "ArrayLike", q_logits: "ArrayLike", labels: "ArrayLike | None" = None) -> float:
    """Mean KL(softmax(p) || softmax(q)) in nats; logits [..., C]; `labels` [...] only says which count.

    A class without mass in p (logit -inf) adds nothing.
    """
    import numpy as np

    p_scores, q_scores = _pair(p_logits, q_logits, labels, "mean_kl")
    log_p, log_q = _log_softmax(p_scores), _log_softmax(q_scores)
    # rounding can leave a sum of -1e-17 for equal rows; KL is never negative
    apart = np.subtract(log_p, log_q, where=np.isfinite(log_p), out=np.zeros_like(log_p))
    return float(np.maximum((np.exp(log_p) * apart).sum(-1), 0.0).mean())


def ece(probs: "ArrayLike", labels: "ArrayLike", *, bins: int = 15) -> float:
    """Expected calibration error: |confidence - accuracy| in equal bins (lo, hi] of the top probability.

    Args:
        probs: [..., C] probabilities.
        labels: [...], -100 ignored.
        bins: number of bins over [0, 1].
    """
    import numpy as np

    scores, truth = _rows(probs, labels, "ece")
    confidence = scores.max(-1)
    hit = (scores.argmax(-1) == truth).astype(np.float64)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=confidence - hit, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def mcnemar(correct_a: "ArrayLike", correct_b: "ArrayLike") -> McNemar:
    """Exact McNemar test of two bool arrays [N] over the same samples.

    Raises:
        ValueError: the shapes differ or are not [N].
    """
    import numpy as np

    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"mcnemar: got shapes {a.shape} and {b.shape}, expected twice [N]")
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    n, k = only_a + only_b, min(only_a, only_b)
    tail = math.fsum(math.exp(percentiles.log_binomial_pmf(i, n, 0.5)) for i in range(k + 1))
    return McNemar(b=only_a, c=only_b, p=1.0 if only_a == only_b else min(1.0, 2 * tail))


def bootstrap_difference(
    correct_a: "ArrayLike", correct_b: "ArrayLike", *, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Paired bootstrap over test samples of the difference b - a in (seed-averaged) correctness, as a share.

    Args:
        correct_a: bool [N] or [S, N] (S seeds; the two may have different S).
        correct_b: bool [N] or [S, N] over the same N samples.
        seed: of the resampling.
        resamples: bootstrap repetitions.

    Raises:
        ValueError: the two have different N, or none.
    """
    import numpy as np

    a, b = np.atleast_2d(np.asarray(correct_a, bool)), np.atleast_2d(np.asarray(correct_b, bool))
    n = a.shape[-1]
    if a.ndim != 2 or b.ndim != 2 or b.shape[-1] != n or n == 0:
        raise ValueError(
            f"bootstrap_difference: got shapes {a.shape} and {b.shape}, expected [S, N] with the same N"
        )
    scale = len(a) * len(b)
    steps = b.sum(0, dtype=np.int64) * len(a) - a.sum(0, dtype=np.int64) * len(
        b
    )  # [N], exact multiples of 1 / scale
    values, counts = np.unique(steps, return_counts=True)
    # the N differences take few distinct values: a resample is one multinomial draw over those, not N indices
    rng, means, chunk = np.random.default_rng(seed), [], max(1, 1_000_000 // len(values))
    for start in range(0, resamples, chunk):
        draws = rng.multinomial(n, counts / n, size=min(chunk, resamples - start))  # [R, distinct values]
        means.append(draws @ values / (n * scale))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(value=float(steps.sum() / (n * scale)), low=float(low), high=float(high), n=n)


def cosines(a: "ArrayLike", b: "ArrayLike") -> "NDArray[np.float64]":
    """Cosine of each pair of rows of a [N, D] and b [N, D], in [-1, 1]; 0 where a row is all zeros.

    Raises:
        ValueError: the shapes differ or are not [N, D].
    """
    import numpy as np

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"cosines: got shapes {first.shape} and {second.shape}, expected twice [N, D]")
    return cast(
        "NDArray[np.float64]",
        np.clip((embedding_metrics.directions(first) * embedding_metrics.directions(second)).sum(-1), -1, 1),
    )


def rank_correlation(a: "ArrayLike", b: "ArrayLike", *, seed: int = 0, resamples: int = 200) -> Interval:
    """Spearman correlation of all pairwise cosine similarities within a and within b, ties by average ranks.

    Of more than 500 samples a subset of 500, drawn with `seed`, is compared (at most 124,750 pairs); `n` is
    the number compared. The interval is a bootstrap over samples: one drawn k times counts k times in each of
    its pairs, and is not paired with itself. Similarities closer than 1e-9 tie; the value is 0 where all tie.
    Of the same samples, a [N, Da] and b [N, Db] may differ in their dimensions.

    Raises:
        ValueError: the two have different N, or fewer than 3 samples.
    """
    import numpy as np

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or len(first) < 3:
        raise ValueError(
            f"rank_correlation: got shapes {first.shape} and {second.shape}, expected [N, Da] and [N, Db] "
            "with N of at least 3"
        )
    value, drawn, n = embedding_metrics.pairwise_correlation(first, second, seed=seed, resamples=resamples)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high), n=n)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson 95% interval (low, high) of a rate with k successes in n trials.

    Raises:
        ValueError: not 0 <= k <= n, or n is 0.
    """
    _check_counts(k, n, "wilson")
    z = NormalDist().inv_cdf(0.975)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # rounding leaves 3e-17 where the limit is exactly 0 or 1
    return (centre - half if k else 0.0), (centre + half if k < n else 1.0)


def lower_bound_one_sided(k: int, n: int, conf: float = 0.95) -> float:
    """Clopper-Pearson lower bound: the largest rate p that k or more successes in n still reject with `conf`.

    Raises:
        ValueError: not 0 <= k <= n, or n is 0.
    """
    _check_counts(k, n, "lower_bound_one_sided")
    if k == 0:
        return 0.0
    low, high, wanted = 0.0, k / n, math.log1p(-conf)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_upper_tail(k, n, middle) < wanted else (low, middle)
    return low


def samples_needed(minimum: float, conf: float = 0.95) -> int:
    """Return the smallest n at which n agreements out of n would prove a rate >= `minimum` with `conf`.

    Raises:
        ValueError: `minimum` or `conf` is not strictly between 0 and 1.
    """
    return percentiles.samples_needed(minimum, confidence=conf)


def noise_verdict(interval: Interval, p: float) -> Verdict:
    """Judge a difference b - a: real only if its interval excludes 0 and p < 0.05; `better`: b is better."""
    if interval.low <= 0 <= interval.high or p >= 0.05:
        return "noise"
    return "better" if interval.value > 0 else "worse"


def _log_upper_tail(k: int, n: int, p: float) -> float:
    """Log of P(Binomial(n, p) >= k) for k > n * p, where the terms fall from the first one on."""
    total = term = 1.0
    for j in range(k, n):
        term *= (n - j) / (j + 1) * p / (1 - p)
        total += term
        if term < 1e-17 * total:
            break
    return percentiles.log_binomial_pmf(k, n, p) + math.log(total)


def _check_counts(k: int, n: int, who: str) -> None:
    if n <= 0 or not 0 <= k <= n:
        raise ValueError(f"{who}: got k={k}, n={n}, expected 0 <= k <= n and n > 0")


def _log_softmax(scores: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import numpy as np

    shifted = scores - scores.max(-1, keepdims=True)
    return cast("NDArray[np.float64]", shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _rows(
    scores: "ArrayLike", labels: "ArrayLike", who: str
) -> "tuple[NDArray[np.float64], NDArray[np.int64]]":
    """Flatten to the labelled positions: scores float64 [M, C], labels int64 [M]."""
    import numpy as np

    values, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if values.ndim == 0 or values.shape[:-1] != truth.shape:
        raise ValueError(
            f"{who}: got scores {values.shape} and labels {truth.shape}, expected [..., C] and [...]"
        )
    keep = truth != IGNORE
    if not keep.any():
        raise ValueError(
            f"{who}: no labelled position among {truth.size}, expected at least one label other than -100"
        )
    return values[keep], truth[keep]


def _pair(a: "ArrayLike", b: "ArrayLike", labels: "ArrayLike | None", who: str) -> Any:
    """Flatten two score arrays of the same shape to the positions that count: float64 [M, C] each."""
    import numpy as np

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{who}: got shapes {first.shape} and {second.shape}, expected the same [..., C]")
    truth = np.zeros(first.shape[:-1], np.int64) if labels is None else labels
    return _rows(first, truth, who)[0], _rows(second, truth, who)[0]
