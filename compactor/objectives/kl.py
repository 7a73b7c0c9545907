"""Hinton's loss: T^2 KL(q || p) at temperature T, target q, student p (arXiv 1503.02531, section 2).

The factor T^2 keeps gradients of like size at every temperature; the sum is over classes, never a mean over
them.
"""

from compactor.objectives import LogitObjective, soft_pairs, term_name, times
from compactor.records import Batch, Outputs, Step, Target, Term


class Kl(LogitObjective):
    """Forward Kullback-Leibler divergence, teacher to student."""

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature of both sides."""
        self.temperature = temperature

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {kl: [B] or [B, L]}."""
        return {
            term_name("kl", head, target): Term(
                self.temperature**2 * times(log_q.exp(), log_q - log_p).sum(-1)
            )
            for head, log_q, log_p in soft_pairs(student, target, self.temperature)
        }
