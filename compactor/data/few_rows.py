"""Choose a handful of rows, so that a smoke run or a survey reads little of a large source.

Rows with sets of labels are told apart by the rarest of their labels (`strata`).
"""

import numpy as np
from numpy.typing import NDArray


def spread_rows(count: int, at_most: int) -> NDArray[np.int64]:
    """Ascending row numbers, at most `at_most` of `count`, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(np.int64))


def handful(labels: NDArray[np.int64], at_most: int) -> NDArray[np.int64]:
    """Ascending row numbers, at most `at_most`: as many of each class as possible, each evenly spread.

    Rows at even distances alone would miss classes where the classes of a file take turns.
    """
    _, code, sizes = np.unique(strata(labels), return_inverse=True, return_counts=True)
    parts = [
        np.flatnonzero(code == number)[spread_rows(int(sizes[number]), int(take))]
        for number, take in enumerate(balanced_quota(sizes, at_most))
    ]
    return np.sort(np.concatenate(parts)).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)


def strata(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """What parts of a source are to have equal shares of, int64 [N].

    Of one class a row it is the class. Of sets of labels [N, C] it is the rarest label of the row, counted
    over these rows (of equally rare ones the first), so that rare labels reach every part; rows with none of
    the labels, and unlabelled ones, are two more.
    """
    if labels.ndim == 1:
        return labels
    rows, width = labels.shape
    known = (labels >= 0).all(1)
    if not width or not known.any():
        return np.full(rows, -1, dtype=np.int64)
    rank = np.empty(width, dtype=np.int64)
    rank[np.argsort((labels == 1).sum(0), kind="stable")] = np.arange(width)
    rarest = np.where(labels == 1, rank, width).min(1)
    return np.where(known, rarest, -1)


def balanced_quota(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows to take of each class, `count` in all, as even as the sizes of the classes allow: int64 [C]."""
    quota = np.zeros(len(sizes), dtype=np.int64)
    left = min(count, int(sizes.sum()))
    while left:
        hungry = np.flatnonzero(quota < sizes)
        share = max(left // len(hungry), 1)
        grant = np.minimum(sizes[hungry] - quota[hungry], share)[:left]
        quota[hungry[: len(grant)]] += grant
        left -= int(grant.sum())
    return quota
