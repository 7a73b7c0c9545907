"""Losses that read the label beside a soft target: DKD's two parts, weighted soft labels, Plackett-Luce.

Each is a softmax head's; items without a label do not count. The soft target is asked in its probabilities
alone, so a label store serves as well as a live teacher.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.objectives import LogitObjective
from compactor.objectives.divergences import times
from compactor.records import IGNORE, Batch, Hard, Outputs, Step, Target, Term


class WithLabel(LogitObjective, ABC):
    """What these losses share; a sub-class gives its name and its formula."""

    name: str

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature; where it is applied is the formula's."""
        self.temperature = temperature

    @abstractmethod
    def loss(self, log_q: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [...] of a target's log-probabilities and the student's logits, both [..., C].

        `labels` [...] are classes 0..C-1. Neither side is tempered yet.
        """

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {name: [B], [B, L] or [P]}, or {name.head: ...} for several heads, valid where labelled."""
        terms = {}
        for head, soft in target.heads.items():
            if isinstance(soft, Hard):
                continue
            logits, labels = student.logits[head].float(), batch.y[head]
            log_q = soft.dense_log_p(logits.shape[-1]).float()
            name = self.name if len(target.heads) == 1 else f"{self.name}.{head}"
            terms[name] = Term(self.loss(log_q, logits, labels.clamp(min=0)), labels != IGNORE)
        return terms

    def tempered(self, values: Tensor) -> Tensor:
        """Log-probabilities of logits, or of log-probabilities, at the temperature."""
        return torch.log_softmax(values / self.temperature, dim=-1)


class TargetClass(WithLabel):
    """TCKD: T^2 KL(b_q || b_p) of the two-class distributions (label, anything else) at temperature T.

    Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation" (arXiv 2203.08679).
    """

    name = "tckd"

    def loss(self, log_q: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return T^2 times the divergence of the two-class distributions."""
        pairs = []
        for values in (log_q, logits):
            log_p = self.tempered(values)
            of_label = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
            pairs.append(torch.stack([of_label, others(log_p, labels).logsumexp(-1)], dim=-1))
        log_bq, log_bp = pairs
        return self.temperature**2 * times(log_bq.exp(), log_bq - log_bp).sum(-1)


class OtherClasses(WithLabel):
    """NCKD: T^2 KL between what is left of both distributions without the label's class, at temperature T.

    Decoupled Knowledge Distillation (arXiv 2203.08679). Hinton's loss is TCKD + (1 - q_y) NCKD: it weighs
    this part least where the teacher is sure.
    """

    name = "nckd"

    def loss(self, log_q: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return T^2 times the divergence of the distributions over the other C - 1 classes."""
        log_rq, log_rp = (self.tempered(others(values, labels)) for values in (log_q, logits))
        return self.temperature**2 * times(log_rq.exp(), log_rq - log_rp).sum(-1)


class WeightedSoftLabels(WithLabel):
    """WSL: w T^2 H(q, p) at temperature T, w = 1 - exp(-L_s / L_t).

    Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A
    Bias-Variance Tradeoff Perspective" (arXiv 2102.00650). L_s and L_t are the cross-entropies of student and
    teacher to the label at temperature 1; w takes no gradient. A sample that the student knows better than
    the teacher counts little. H is the soft cross-entropy, as in the authors' code; its gradient is KL's.
    """

    name = "wsl"

    def loss(self, log_q: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted soft cross-entropy."""
        index = labels.unsqueeze(-1)
        with torch.no_grad():
            ours = -torch.log_softmax(logits, dim=-1).gather(-1, index).squeeze(-1)
            theirs = -log_q.gather(-1, index).squeeze(-1)
            weight = -torch.expm1(-ours / theirs.clamp(min=1e-7))
        soft = -times(self.tempered(log_q).exp(), self.tempered(logits)).sum(-1)
        return weight * self.temperature**2 * soft


class PlackettLuce(WithLabel):
    """PLD: the student is to rank classes as the teacher does, the label first (arXiv 2506.12542).

    1. Order pi: the label, then the other classes by descending q; ties by class id.
    2. L = sum_k q_tau[pi_k] * (logsumexp_{l >= k} s[pi_l] - s[pi_k]), q_tau the target at temperature tau, s
       the student's logits as they are: the Plackett-Luce likelihood of the order, each choice weighed by the
       teacher's probability of what is chosen.

    A one-hot q on the label makes it the cross-entropy, a uniform one ListMLE / C.
    """

    name = "pld"

    def loss(self, log_q: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return L [...]."""
        first = log_q.scatter(-1, labels.unsqueeze(-1), torch.inf)
        order = first.argsort(dim=-1, descending=True, stable=True)
        weights = self.tempered(log_q).exp().gather(-1, order)
        ranked = logits.gather(-1, order)
        tails = ranked.flip(-1).logcumsumexp(-1).flip(-1)
        return (weights * (tails - ranked)).sum(-1)


def others(values: Tensor, labels: Tensor) -> Tensor:
    """Values [..., C] without those of the labels [...]: [..., C - 1], in the order of classes."""
    classes = values.shape[-1]
    kept = F.one_hot(labels, classes) == 0
    return values[kept].view(*values.shape[:-1], classes - 1)
