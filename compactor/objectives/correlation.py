"""DIST: the student's probabilities are to vary as the teacher's do, in two directions, whatever their scale.

Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher" (arXiv 2205.10536): 1 - Pearson's
correlation is 0 for any student whose numbers are a positive multiple of the teacher's plus a constant.
"""

import torch.nn.functional as F
from torch import Tensor

from compactor.objectives.divergences import SoftObjective


class BetweenClasses(SoftObjective):
    """T^2 (1 - r) of a sample's class probabilities at temperature T (inter-class)."""

    name = "dist_inter"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return 1 - r of each sample, [B, C] -> [B]."""
        return 1 - correlation(log_q.exp(), log_p.exp())


class WithinClass(SoftObjective):
    """T^2 (1 - r) of a class's probabilities across samples, mean over classes (intra-class).

    The samples are those of this process's part of the batch, so with several processes each one compares its
    own samples only. Every sample is given the one value. A batch of one sample has no correlation: it counts
    as 0 and has no gradient.
    """

    name = "dist_intra"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return the mean of 1 - r over classes for every sample, [B, C] -> [B]."""
        return (1 - correlation(log_q.exp().T, log_p.exp().T)).mean().expand(len(log_p))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation along the last dimension; 0 where one of them does not vary."""
    first, second = (one - one.mean(-1, keepdim=True) for one in (first, second))
    return F.cosine_similarity(first, second, dim=-1)
