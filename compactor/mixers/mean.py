"""Both of MEAL V2's means over teachers: of softmaxes and of logits (arXiv 2009.08453)."""

import torch
from torch import Tensor

from compactor.records import Outputs


class MeanMixer:
    """Uniform or weighted average; weights are normalised to sum to 1."""

    def __init__(self, weights: list[float] | None = None) -> None:
        """Set one weight > 0 for each teacher (absent: equal weights)."""
        self.weights = weights

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix: log_probs = log sum_k w_k softmax(t_k), logits = sum_k w_k t_k; features of the first."""
        weights = torch.tensor(self.weights or [1.0] * len(outputs), dtype=torch.float64)
        shares = (weights / weights.sum()).float()
        logits: dict[str, Tensor] = {}
        log_probs: dict[str, Tensor] = {}
        for head in outputs[0].logits:
            stacked = torch.stack([output.logits[head].float() for output in outputs])
            share = shares.to(stacked.device).view(-1, *[1] * (stacked.dim() - 1))
            logits[head] = (share * stacked).sum(0)
            log_probs[head] = torch.logsumexp(torch.log_softmax(stacked, dim=-1) + share.log(), dim=0)
        return Outputs(logits, log_probs, outputs[0].features, outputs[0].pos)
