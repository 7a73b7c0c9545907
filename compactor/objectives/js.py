"""Textbook Jensen-Shannon divergence: 1/2 KL(p || m) + 1/2 KL(q || m) with m = (p + q) / 2, at most ln 2."""

import math

import torch

from compactor.objectives import LogitObjective, soft_pairs, term_name, times
from compactor.records import Batch, Outputs, Step, Target, Term


class JensenShannon(LogitObjective):
    """Jensen-Shannon divergence of student and target."""

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature of both sides; the loss is scaled by T^2."""
        self.temperature = temperature

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {js: [B] or [B, L]}."""
        terms = {}
        for head, log_q, log_p in soft_pairs(student, target, self.temperature):
            log_m = torch.logaddexp(log_q, log_p) - math.log(2)
            js = 0.5 * (times(log_q.exp(), log_q - log_m) + times(log_p.exp(), log_p - log_m)).sum(-1)
            terms[term_name("js", head, target)] = Term(self.temperature**2 * js)
        return terms
