"""Textbook Jensen-Shannon divergence: 1/2 KL(p || m) + 1/2 KL(q || m) with m = (p + q) / 2, at most ln 2."""

import math

import torch
from torch import Tensor

from compactor.objectives import SoftObjective, times


class JensenShannon(SoftObjective):
    """Jensen-Shannon divergence of student and target."""

    name = "js"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return JS(q, p)."""
        log_m = torch.logaddexp(log_q, log_p) - math.log(2)
        return 0.5 * (times(log_q.exp(), log_q - log_m) + times(log_p.exp(), log_p - log_m)).sum(-1)
