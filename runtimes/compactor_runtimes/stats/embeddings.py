"""How alike two sets of embeddings order the pairs of their samples; `metrics` states the results."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_COMPARED = 500  # samples whose pairwise similarities are compared


def directions(vectors: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Rows divided by their Euclidean lengths; a row of zeros stays."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def pairwise_correlation(
    a: "NDArray[np.float64]", b: "NDArray[np.float64]", *, seed: int, resamples: int
) -> "tuple[float, list[float], int]":
    """Spearman correlation of the pairwise cosines within a [N, Da] and within b [N, Db], N >= 3.

    Returns:
        The value, that of each resample, and the number of samples that were compared.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    if len(a) > MOST_COMPARED:
        rows = np.sort(rng.choice(len(a), MOST_COMPARED, replace=False))
        a, b = a[rows], b[rows]
    n = len(a)
    i, j = np.triu_indices(n, 1)
    # sorted once: a resample only changes how often each pair counts
    ranks_a, ranks_b = (
        np.unique(np.round((one @ one.T)[i, j], 9), return_inverse=True)[1]
        for one in (directions(a), directions(b))
    )
    value = weighted_spearman(ranks_a, ranks_b, np.ones(len(i)))
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = [weighted_spearman(ranks_a, ranks_b, (one[i] * one[j]).astype(np.float64)) for one in counts]
    return value, drawn, n


def weighted_spearman(
    a: "NDArray[np.int64]", b: "NDArray[np.int64]", weights: "NDArray[np.float64]"
) -> float:
    """Spearman correlation of values given as dense ranks from 0, each counted `weights` times.

    0 where one side is constant.
    """
    import numpy as np

    total = weights.sum()
    centred = []
    for dense in (a, b):
        mass = np.bincount(dense, weights)
        # the average rank of each tie less 1/2, and less the mean of all ranks
        centred.append((np.cumsum(mass) - (mass + total) / 2)[dense])
    spread = [float((weights * one * one).sum()) for one in centred]
    if min(spread) <= 1e-12 * total**3:
        return 0.0
    found = float((weights * centred[0] * centred[1]).sum()) / math.sqrt(spread[0] * spread[1])
    return max(-1.0, min(1.0, found))
