"""Soft cross-entropy: H(q, p) = -sum_c q_c log p_c, target q, student p.

The similarity loss of MEAL V2 (arXiv 2009.08453, where it is called KL), FKD and the later SSLD
configurations; no T^2 factor, so its gradient at temperature T is (p - q) / T per sample, as in FKD's code,
where the target is taken as it is (target_temperature 1).
"""

from torch import Tensor

from compactor.objectives import SoftObjective, times


class SoftCrossEntropy(SoftObjective):
    """Cross-entropy of the student to the soft target."""

    name = "soft_ce"
    scaled = False

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return H(q, p)."""
        return -times(log_q.exp(), log_p).sum(-1)
