"""Soft cross-entropy: H(q, p) = -sum_c q_c log p_c, target q, student p.

The similarity loss of MEAL V2 (arXiv 2009.08453, where it is called KL), FKD and the later SSLD
configurations; no T^2 factor, so its gradient at temperature T is (p - q) / T per sample, as in FKD's code.
"""

from compactor.objectives import LogitObjective, soft_pairs, term_name, times
from compactor.records import Batch, Outputs, Step, Target, Term


class SoftCrossEntropy(LogitObjective):
    """Cross-entropy of the student to the soft target, sum over classes."""

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature of both sides."""
        self.temperature = temperature

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {soft_ce: [B] or [B, L]}."""
        return {
            term_name("soft_ce", head, target): Term(-times(log_q.exp(), log_p).sum(-1))
            for head, log_q, log_p in soft_pairs(student, target, self.temperature)
        }
