"""Both of MEAL V2's means over teachers: of softmaxes and of logits (arXiv 2009.08453)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.mixers import TeacherMixer
from compactor.records import HEADS, Activation, Outputs
from compactor_runtimes.errors import UsageError


class MeanMixer(TeacherMixer):
    """Uniform or weighted average; weights are normalised to sum to 1."""

    def __init__(self, weights: list[float] | None = None) -> None:
        """Set one weight > 0 for each teacher (absent: equal weights)."""
        self.weights = weights

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix each head by its activation; features are those of the first.

        softmax: log_probs = log sum_k w_k softmax(t_k), logits = sum_k w_k t_k. sigmoid: log_probs are the
        log-odds of sum_k w_k sigmoid(t_k), label by label, logits = sum_k w_k t_k. none: vectors have no
        probabilities, their "logits" are sum_k w_k t_k / |t_k|, or those of a single teacher as they are.

        Raises:
            UsageError: the teachers' embeddings differ in their dimensions.
        """
        weights = torch.tensor(self.weights or [1.0] * len(outputs), dtype=torch.float64)
        shares = (weights / weights.sum()).float()
        logits: dict[str, Tensor] = {}
        log_probs: dict[str, Tensor] = {}
        for head in outputs[0].logits:
            found = [output.logits[head].float() for output in outputs]
            logits[head], mean = MEANS[HEADS[head].activation](found, shares)
            if mean is not None:
                log_probs[head] = mean
        return Outputs(logits, log_probs, outputs[0].features)


def _mean_classes(scores: list[Tensor], shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of logits [..., C], and the logarithm of that of their softmaxes."""
    stacked = torch.stack(scores)
    share = shares.to(stacked.device).view(-1, *[1] * (stacked.dim() - 1))
    return (share * stacked).sum(0), torch.logsumexp(torch.log_softmax(stacked, dim=-1) + share.log(), dim=0)


def _mean_labels(scores: list[Tensor], shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of logits [B, C], and the log-odds of the means of their sigmoids."""
    if len(scores) == 1:
        return scores[0], scores[0]
    stacked = torch.stack(scores)
    share = shares.to(stacked.device).view(-1, *[1] * (stacked.dim() - 1))
    yes = torch.logsumexp(F.logsigmoid(stacked) + share.log(), dim=0)
    no = torch.logsumexp(F.logsigmoid(-stacked) + share.log(), dim=0)
    return (share * stacked).sum(0), yes - no


def _mean_direction(vectors: list[Tensor], shares: Tensor) -> tuple[Tensor, None]:
    """Weighted mean of the normalised vectors [B, D], which have no probabilities."""
    if len(vectors) == 1:
        return vectors[0], None
    dimensions = [one.shape[-1] for one in vectors]
    if len(set(dimensions)) > 1:
        raise UsageError(
            f"teachers: their embeddings have {', '.join(map(str, dimensions))} dimensions and cannot be "
            "averaged; name teachers of the same size, or one alone"
        )
    stacked = F.normalize(torch.stack(vectors), dim=-1)
    return (shares.to(stacked.device).view(-1, 1, 1) * stacked).sum(0), None


# activation of a head -> (outputs of each teacher, weights) -> their mean, and `Outputs.log_probs`
MEANS: dict[Activation, Callable[[list[Tensor], Tensor], tuple[Tensor, Tensor | None]]] = {
    "softmax": _mean_classes,
    "sigmoid": _mean_labels,
    "none": _mean_direction,
}
