"""SSLD's loss: 1/2 (KL(q || p) + KL(p || q)) = 1/2 sum_c (q_c - p_c)(log q_c - log p_c) (arXiv 2103.05959).

Its code and documents call it JS; it is half the Jeffreys divergence. The textbook JS is `js.py`.
"""

from torch import Tensor

from compactor.objectives import SoftObjective


class SymmetricKl(SoftObjective):
    """Symmetric KL; needs a target without zeros (a re-normalised top-k label is infinitely far)."""

    name = "sym_kl"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return 1/2 (KL(q || p) + KL(p || q))."""
        return 0.5 * ((log_q.exp() - log_p.exp()) * (log_q - log_p)).sum(-1)
