"""SSLD's loss: 1/2 (KL(q || p) + KL(p || q)) = 1/2 sum_c (q_c - p_c)(log q_c - log p_c) (arXiv 2103.05959).

Its code and documents call it JS; it is half the Jeffreys divergence. The textbook JS is `js.py`.
"""

from compactor.objectives import LogitObjective, soft_pairs, term_name
from compactor.records import Batch, Outputs, Step, Target, Term


class SymmetricKl(LogitObjective):
    """Symmetric KL; needs a target without zeros (a re-normalised top-k label is infinitely far)."""

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature of both sides (SSLD uses 1); the loss is scaled by T^2."""
        self.temperature = temperature

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {sym_kl: [B] or [B, L]}."""
        return {
            term_name("sym_kl", head, target): Term(
                self.temperature**2 * 0.5 * ((log_q.exp() - log_p.exp()) * (log_q - log_p)).sum(-1)
            )
            for head, log_q, log_p in soft_pairs(student, target, self.temperature)
        }
