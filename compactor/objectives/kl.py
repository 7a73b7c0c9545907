"""Hinton's loss: T^2 KL(q || p) at temperature T, target q, student p (arXiv 1503.02531, section 2).

The factor T^2 keeps gradients of like size at every temperature; the sum is over classes, never a mean over
them.
"""

from torch import Tensor

from compactor.objectives import SoftObjective, times


class Kl(SoftObjective):
    """Forward Kullback-Leibler divergence, teacher to student."""

    name = "kl"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return KL(q || p)."""
        return times(log_q.exp(), log_q - log_p).sum(-1)
