"""Spherical knowledge distillation: both sides' logits on one sphere, so that confidence is not imitated."""

from torch import Tensor

from compactor.objectives.divergences import SoftObjective, times

EPS = 1e-7


class Spherical(SoftObjective):
    """SKD: T^2 KL(q || p) of logits that are centred and scaled to one standard deviation on both sides.

    Guo, Chen, Hu, Zhu, He, Cai, "Reducing the Teacher-Student Gap via Spherical Knowledge Distillation"
    (arXiv 2010.07485). A vector of C centred logits of standard deviation `scale` has the norm
    scale * sqrt(C). The gradient runs through the student's own norm. The temperature is of the normalised
    logits; a target's log-probabilities serve as its logits, from which they differ by a constant.
    """

    name = "skd"
    scaled = False

    def __init__(self, temperature: float = 1.0, *, scale: float = 2.0) -> None:
        """Set the temperature of the normalised logits, and their standard deviation."""
        super().__init__(1.0)
        self.sharpness, self.scale = temperature, scale

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return T^2 KL(q || p) of the normalised logits."""
        log_q, log_p = (
            (self.scale * normalised(one) / self.sharpness).log_softmax(-1) for one in (log_q, log_p)
        )
        return self.sharpness**2 * times(log_q.exp(), log_q - log_p).sum(-1)


def normalised(logits: Tensor) -> Tensor:
    """Logits of mean 0 and variance 1 over classes; alike ones become 0."""
    centred = logits - logits.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt()
