"""Mean squared error between probabilities: the loss of self-distillation with ground truth."""

from torch import Tensor

from compactor.objectives.divergences import SoftObjective


class ProbabilityMse(SoftObjective):
    """Mean over classes of (q_c - p_c)^2, as the authors' code has it (arXiv 2102.13088).

    As a mean over C classes its gradient shrinks with C; learning rates are to follow.
    """

    name = "mse"
    scaled = False

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return the mean of squared differences."""
        return (log_q.exp() - log_p.exp()).square().mean(-1)
