"""PARC: how well a model's features tell given classes apart, without any training (arXiv 2111.06977)."""

import torch
import torch.nn.functional as F
from torch import Tensor

TIE = 1e9  # distances that are the same to this precision tie


def parc_score(features: Tensor, labels: Tensor, *, components: int | None) -> float:
    """Spearman correlation of distances between features with distances between labels, in -1..1.

    1. Features are reduced to their first `components` principal components (as many as there are, if fewer),
       each with the sign that makes its largest loading positive: correlations hang on signs.
    2. The distance of two rows is 1 - their Pearson correlation; of two labels the same of their one-hots,
       so it is one number within a class and a larger one between any two. A constant row correlates with
       none.
    3. Both are compared over all pairs of rows, ties by average ranks; 0 where all of either tie.

    Args:
        features: [n, D].
        labels: int64 [n].
        components: principal components; None leaves the features as they are.
    """
    rows = features.double()
    if components is not None:
        rows = _principal(rows, components)
    rows = F.normalize(rows - rows.mean(1, keepdim=True), dim=1)
    row, column = torch.tril_indices(len(rows), len(rows), -1, device=rows.device)
    apart = ((1 - rows @ rows.T)[row, column] * TIE).round()
    differ = (labels[row] != labels[column]).double()
    return float(_correlation(_ranks(apart), _ranks(differ)))


def _principal(rows: Tensor, components: int) -> Tensor:
    """The scores [n, components] of rows [n, D]."""
    centred = rows - rows.mean(0)
    _, _, loadings = torch.linalg.svd(centred, full_matrices=False)
    kept = loadings[:components]
    largest = kept.gather(1, kept.abs().argmax(1, keepdim=True))
    found: Tensor = centred @ (kept * largest.sign()).T
    return found


def _ranks(values: Tensor) -> Tensor:
    """Average ranks from 1 on."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = count.cumsum(0).double() - (count - 1) / 2
    return ranks[place]


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(), other - other.mean()
    size = one.norm() * other.norm()
    return torch.where(size > 0, (one * other).sum() / size, 0.0)
