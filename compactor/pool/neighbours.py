"""Nearest neighbours by inner product, block by block: the memory does not grow with either side."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

QUERIES = 256
"""Rows of a product; the last ones are padded: a row's sums must not depend on how many come with it."""
INDEX = 8192
GROUPS = 16


def unit_rows(rows: NDArray[np.floating]) -> Floats:
    """Scale rows [n, D] to length 1; rows of zeros stay so."""
    found = np.asarray(rows, np.float32)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def nearest(
    queries: Floats,
    index: Callable[[int, int], Floats],
    size: int,
    k: int,
    *,
    first: int | None = None,
    alive: NDArray[np.bool_] | None = None,
) -> tuple[Ids, Floats]:
    """Find the k rows of an index that have the largest inner products with each query.

    Args:
        queries: [n, D].
        index: rows from (inclusive) to (exclusive) of the index, [., D].
        size: rows of the index.
        k: how many to find.
        first: the queries are rows of the index from here on, and only rows before a query may be found.
        alive: rows [size] that may be found.

    Returns:
        Rows [n, k] (-1 where there are fewer) and products [n, k], largest first, then by row.
    """
    parts = [
        _block(queries[at : at + QUERIES], index, size, k, None if first is None else first + at, alive)
        for at in range(0, len(queries), QUERIES)
    ]
    if not parts:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([products for _, products in parts])


def _block(
    queries: Floats,
    index: Callable[[int, int], Floats],
    size: int,
    k: int,
    first: int | None,
    alive: NDArray[np.bool_] | None,
) -> tuple[Ids, Floats]:
    padded = np.zeros((QUERIES, queries.shape[1]), np.float32)
    padded[: len(queries)] = queries
    rows = np.full((QUERIES, k), -1, np.int64)
    best = np.full((QUERIES, k), -np.inf, np.float32)
    end = size if first is None else min(size, first + len(queries))
    for start in range(0, end, INDEX):
        stop = min(start + INDEX, size)  # not `end`: a product's shape is the index' own
        products = padded @ index(start, stop).T
        if alive is not None:
            products[:, ~alive[start:stop]] = -np.inf
        if first is not None and stop > first:
            later = np.arange(start, stop)[None] >= first + np.arange(QUERIES)[:, None]
            products[later] = -np.inf
        where, found = _largest(products, k)
        rows = np.concatenate([rows, where + start], 1)
        best = np.concatenate([best, found], 1)
        order = np.lexsort((rows, -best), axis=1)[:, :k]
        rows, best = np.take_along_axis(rows, order, 1), np.take_along_axis(best, order, 1)
    rows[~np.isfinite(best)] = -1
    return rows[: len(queries)], best[: len(queries)]


def _largest(products: Floats, k: int) -> tuple[Ids, Floats]:
    """Take the k largest of each row; they lie in the k groups of columns with the largest maxima."""
    count, width = products.shape
    if width <= 2 * GROUPS * k:
        where = np.broadcast_to(np.arange(width), products.shape)
        return where.astype(np.int64), products
    step = -(-width // GROUPS)
    padded = np.full((count, GROUPS * step), -np.inf, np.float32)
    padded[:, :width] = products
    groups = np.argpartition(-padded.reshape(count, GROUPS, step).max(1), k - 1, axis=1)[:, :k]
    where = (groups[:, None] + step * np.arange(GROUPS)[None, :, None]).reshape(count, -1)
    return where, np.take_along_axis(padded, where, 1)
