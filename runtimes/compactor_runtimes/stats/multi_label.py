"""Scores of labels of which any number may be true of a sample: average precision, F1, and thresholds.

Arrays are numpy, computed in float64: logits or probabilities [N, C], labels [N, C] of 1 and 0; a row of -100
has no labels and is left out everywhere. A label counts for mAP if some row has it and some has not.
"""

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from compactor_runtimes.stats.metrics import IGNORE, Interval
from compactor_runtimes.stats.sigmoid import sigmoid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

RESAMPLES, FEWEST_RESAMPLES = 1_000, 200
MOST_NUMBERS = 200_000_000  # of a bootstrap; above it there are fewer resamples
CHUNK = 4_000_000  # numbers of one pass
BINS = 15
THRESHOLD = 0.5  # where none is chosen


class MapDifference(Struct, frozen=True, kw_only=True):
    """What mAP gains from a to b, a share: with its 95% interval, and p two-sided, from a paired bootstrap.

    `drop_bound` is the one-sided 95% upper bound of the loss, a share.
    """

    interval: Interval
    p: float
    drop_bound: float


def known_rows(labels: "ArrayLike") -> "NDArray[np.bool_]":
    """Which rows have labels, bool [N]."""
    import numpy as np

    return np.asarray((np.asarray(labels) != IGNORE).all(-1), bool)


def average_precisions(scores: "ArrayLike", labels: "ArrayLike") -> "NDArray[np.float64]":
    """Average precision of each label, float64 [C]: sum over ranks of (recall gained) * precision.

    Rows of equal score make one step, as if they had one rank. NaN where no row has the label, or all have.
    """
    import numpy as np

    values, truth = _known(scores, labels, "average_precisions")
    return np.asarray(_weighted(values, truth, np.ones((1, len(values))))[0])


def mean_average_precision(scores: "ArrayLike", labels: "ArrayLike") -> float:
    """Mean average precision over the labels that some row has and some has not.

    Raises:
        ValueError: there is no such label.
    """
    return float(_mean(average_precisions(scores, labels)[None])[0])


def chance_map(labels: "ArrayLike") -> float:
    """What scores that know nothing reach: the mean share of rows that have a label, over those of mAP."""
    import numpy as np

    truth = _known(np.zeros(np.shape(labels)), labels, "chance_map")[1]
    shares = truth.mean(0)
    counted = shares[(shares > 0) & (shares < 1)]
    return float(counted.mean()) if len(counted) else 1.0


def resampled_map(scores: "ArrayLike", labels: "ArrayLike", *, seed: int = 0) -> "NDArray[np.float64]":
    """MAP of bootstrap resamples of the rows, float64 [R]; equal seeds and rows give paired resamples.

    R is 1,000, of very many numbers fewer, at least 200. A label that a resample does not show counts not.
    """
    import numpy as np

    values, truth = _known(scores, labels, "resampled_map")
    n = len(values)
    resamples = max(FEWEST_RESAMPLES, min(RESAMPLES, MOST_NUMBERS // max(values.size, 1)))
    rng, found = np.random.default_rng(seed), []
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start))
        found.append(_mean(_weighted(values, truth, drawn.astype(np.float64)), strict=False))
    return cast("NDArray[np.float64]", np.concatenate(found))


def map_interval(scores: "ArrayLike", labels: "ArrayLike", *, seed: int = 0) -> Interval:
    """MAP with its 95% bootstrap interval over samples.

    Raises:
        ValueError: no label that some row has and some has not.
    """
    import numpy as np

    value = mean_average_precision(scores, labels)
    low, high = np.nanquantile(resampled_map(scores, labels, seed=seed), [0.025, 0.975])
    n = int(known_rows(labels).sum())
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), n=n)


def map_difference(
    a_scores: "ArrayLike", b_scores: "ArrayLike", labels: "ArrayLike", *, seed: int = 0
) -> MapDifference:
    """What mAP gains from a to b on the same rows.

    Raises:
        ValueError: no label that some row has and some has not.
    """
    import numpy as np

    drawn = resampled_map(b_scores, labels, seed=seed) - resampled_map(a_scores, labels, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    value = mean_average_precision(b_scores, labels) - mean_average_precision(a_scores, labels)
    low, high, worst = np.quantile(drawn, [0.025, 0.975, 0.05])
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    interval = Interval(value=value, low=float(low), high=float(high), n=int(known_rows(labels).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))
    return MapDifference(interval=interval, p=p, drop_bound=max(-float(worst), -value))


def decided(logits: "ArrayLike", thresholds: "ArrayLike") -> "NDArray[np.bool_]":
    """Which labels are answered, bool [N, C]: those whose probability reaches their threshold [C].

    It is decided in single precision, as answers are served.
    """
    import numpy as np

    return np.asarray(sigmoid(logits) >= np.asarray(thresholds, np.float32), bool)


def f1_of_labels(answers: "ArrayLike", labels: "ArrayLike") -> "NDArray[np.float64]":
    """F1 of each label, float64 [C], of answers bool [N, C]; NaN where no row has or was given it."""
    import numpy as np

    right, said, there = _counts(answers, labels)
    total = said + there
    return np.asarray(np.divide(2 * right, total, where=total > 0, out=np.full(len(total), np.nan)))


def macro_f1(answers: "ArrayLike", labels: "ArrayLike") -> float:
    """Mean F1 over the labels that are there or were answered; 1 if there is none."""
    import numpy as np

    each = f1_of_labels(answers, labels)
    each = each[np.isfinite(each)]
    return float(each.mean()) if len(each) else 1.0


def micro_f1(answers: "ArrayLike", labels: "ArrayLike") -> float:
    """F1 of all decisions together; 1 if nothing is there and nothing was answered."""
    right, said, there = (int(each.sum()) for each in _counts(answers, labels))
    return 2 * right / (said + there) if said + there else 1.0


def recall_of_labels(answers: "ArrayLike", labels: "ArrayLike") -> "NDArray[np.float64]":
    """Share of each label's rows for which it was answered, float64 [C]; NaN where no row has it."""
    import numpy as np

    right, _, there = _counts(answers, labels)
    return np.asarray(np.divide(right, there, where=there > 0, out=np.full(len(there), np.nan)))


def best_thresholds(probabilities: "ArrayLike", labels: "ArrayLike") -> list[float]:
    """The threshold of each label with the largest F1, of equals the lowest.

    A threshold lies halfway between two neighbouring probabilities of the rows, or between 0 and the
    smallest. It is 0.5 for a label that no row has.
    """
    import numpy as np

    values, truth = _known(probabilities, labels, "best_thresholds")
    found = []
    for own, there in zip(values.T, truth.T, strict=True):
        if not there.any():
            found.append(THRESHOLD)
            continue
        steps = np.unique(own)
        said = len(own) - np.searchsorted(np.sort(own), steps)
        right = there.sum() - np.searchsorted(np.sort(own[there]), steps)
        best = int(np.argmax(2 * right / (said + there.sum())))  # the first, which is the lowest
        found.append(float((steps[best] + (steps[best - 1] if best else 0.0)) / 2))
    return found


def mean_bernoulli_kl(p_logits: "ArrayLike", q_logits: "ArrayLike") -> float:
    """Mean over rows of the sum over labels of KL(p || q) in nats, both halves of each label."""
    import numpy as np

    p, q = (np.asarray(each, np.float64) for each in (p_logits, q_logits))
    yes, no = -np.logaddexp(0, -p), -np.logaddexp(0, p)
    apart = np.exp(yes) * (yes + np.logaddexp(0, -q)) + np.exp(no) * (no + np.logaddexp(0, q))
    return float(np.maximum(apart.sum(-1), 0.0).mean())


def label_ece(logits: "ArrayLike", labels: "ArrayLike") -> float:
    """Expected calibration error of all label probabilities together, in 15 equal bins (lo, hi]."""
    import numpy as np

    values, truth = _known(logits, labels, "label_ece")
    p, there = sigmoid(values, "float64").ravel(), truth.ravel()
    index = np.clip(np.ceil(p * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(index, weights=p - there, minlength=BINS)).sum() / len(p))


def _weighted(
    values: "NDArray[np.float64]", truth: "NDArray[np.bool_]", weights: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Average precisions [R, C] of rows that count `weights` [R, N] times."""
    import numpy as np

    found = np.full((len(weights), values.shape[1]), np.nan)
    for label in range(values.shape[1]):
        order = np.argsort(-values[:, label], kind="stable")
        score, there = values[order, label], truth[order, label]
        ends = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of runs of equal score
        own = weights[:, order]
        seen, right = np.cumsum(own, 1)[:, ends], np.cumsum(own * there, 1)[:, ends]
        gained = np.diff(right, axis=1, prepend=0.0)
        total = right[:, -1]
        counts = (total > 0) & (total < seen[:, -1])
        area = (gained * right / np.maximum(seen, 1.0)).sum(1)
        found[counts, label] = area[counts] / total[counts]
    return found


def _mean(each: "NDArray[np.float64]", *, strict: bool = True) -> "NDArray[np.float64]":
    """Mean over the labels that count [R]; NaN, or an error, where none does."""
    import numpy as np

    counted = np.isfinite(each)
    many = counted.sum(1)
    if strict and not many.all():
        raise ValueError("mAP: no label that some row has and some has not, expected at least one")
    total = np.where(counted, each, 0.0).sum(1)
    return np.asarray(np.divide(total, many, where=many > 0, out=np.full(len(each), np.nan)))


def _counts(answers: "ArrayLike", labels: "ArrayLike") -> Any:
    """Of each label [C]: how often answered rightly, how often answered, and how often there."""
    import numpy as np

    said, truth = _known(answers, labels, "f1")
    return ((said > 0) & truth).sum(0), (said > 0).sum(0), np.asarray(truth.sum(0))


def _known(scores: "ArrayLike", labels: "ArrayLike", who: str) -> Any:
    """Scores float64 and labels bool of the rows that have labels: [M, C] each."""
    import numpy as np

    values, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if values.ndim != 2 or values.shape != truth.shape:
        raise ValueError(f"{who}: got scores {values.shape} and labels {truth.shape}, expected twice [N, C]")
    rows = known_rows(truth)
    if not rows.any():
        raise ValueError(f"{who}: none of {len(truth)} rows has labels, expected at least one")
    return values[rows], truth[rows] == 1
