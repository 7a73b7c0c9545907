"""Divergences between a soft target q and the student p, and what they share; `DIVERGENCES` names them.

On a sigmoid head every label is a distribution of its own over yes and no: the same formulas are applied to
it (two-sided, so KL has a (1-q) log((1-q)/(1-p)) half) and summed over labels, as over classes elsewhere.
`soft_pairs` is the one place that knows; the mean is over samples alone, so that losses grow with the number
of labels, as those of PULC's multi-label tasks do (`size_sum`), and learning rates are to follow.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.objectives import LogitObjective
from compactor.records import Batch, Hard, Outputs, Soft, Step, Target, Term, activation_of


class SoftObjective(LogitObjective, ABC):
    """What divergences to a soft target share; a sub-class gives its name and its formula.

    Both sides are taken at `temperature`, or the target at one of its own; `scaled` losses are multiplied by
    T^2, so that gradients have like size at every temperature.
    """

    name: str
    scaled = True

    def __init__(self, temperature: float = 1.0, *, target_temperature: float | None = None) -> None:
        """Set the temperature of both sides; a target that is taken as it is has temperature 1."""
        self.temperature = temperature
        self.target_temperature = temperature if target_temperature is None else target_temperature

    @abstractmethod
    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return the loss [...] of target q and student p, given as log-probabilities [..., C].

        Of a sigmoid head they are [B, C, 2], yes and no, and its loss [B, C] is summed over labels.
        """

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {name: [B], [B, L] or [P]}, or {name.head: ...} for several heads.

        Of a head of tokens [B, L] those count that carry a label (`batch.mask`).
        """
        factor = self.temperature**2 if self.scaled else 1.0
        terms = {}
        for head, log_q, log_p in soft_pairs(student, target, self.temperature, self.target_temperature):
            loss = factor * self.divergence(log_q, log_p)
            loss = loss.sum(-1) if activation_of(head) == "sigmoid" else loss
            name = self.name if len(target.heads) == 1 else f"{self.name}.{head}"
            terms[name] = Term(loss, batch.mask if loss.dim() == 2 else None)
        return terms


def soft_pairs(
    student: Outputs, target: Target, temperature: float, target_temperature: float
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (head, log q, log p) [..., C] for every soft head, target and student at their temperatures.

    Both are computed in float32, also under autocast. A tempered target is softmax(log q / T), which equals
    softmax(logits / T) because logits and log-probabilities differ by a constant. Of a sigmoid head they are
    [B, C, 2], the logarithms of sigmoid(z / T) and sigmoid(-z / T).
    """
    for head, soft in target.heads.items():
        if isinstance(soft, Hard):
            continue
        logits = student.logits[head].float()
        if activation_of(head) == "sigmoid":
            assert soft.log_p is not None  # never top-k
            yield head, yes_no(soft.log_p.float() / target_temperature), yes_no(logits / temperature)
            continue
        log_q = tempered(soft, logits.shape[-1], target_temperature)
        yield head, log_q, torch.log_softmax(logits / temperature, dim=-1)


def yes_no(log_odds: Tensor) -> Tensor:
    """Log-probabilities [..., 2] of yes and no; exact up to rounding for log-odds of any size."""
    return torch.stack([F.logsigmoid(log_odds), F.logsigmoid(-log_odds)], dim=-1)


def tempered(soft: Soft, num_classes: int, temperature: float) -> Tensor:
    """Log-probabilities of a soft target at a temperature."""
    log_q = soft.dense_log_p(num_classes).float()
    return log_q if temperature == 1 else torch.log_softmax(log_q / temperature, dim=-1)


def times(probabilities: Tensor, values: Tensor) -> Tensor:
    """Probabilities * values, where a probability of 0 gives 0 whatever the value (0 * log 0 = 0)."""
    return torch.where(probabilities > 0, probabilities * values, 0.0)


class Kl(SoftObjective):
    """Hinton's loss: T^2 KL(q || p) at temperature T, target q, student p (arXiv 1503.02531, section 2).

    The factor T^2 keeps gradients of like size at every temperature; the sum is over classes, never a mean
    over them.
    """

    name = "kl"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return KL(q || p)."""
        return times(log_q.exp(), log_q - log_p).sum(-1)


class SoftCrossEntropy(SoftObjective):
    """Soft cross-entropy: H(q, p) = -sum_c q_c log p_c, target q, student p.

    The similarity loss of MEAL V2 (arXiv 2009.08453, where it is called KL), FKD and the later SSLD
    configurations; no T^2 factor, so its gradient at temperature T is (p - q) / T per sample, as in FKD's
    code, where the target is taken as it is (target_temperature 1).
    """

    name = "soft_ce"
    scaled = False

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return H(q, p)."""
        return -times(log_q.exp(), log_p).sum(-1)


class SymmetricKl(SoftObjective):
    """SSLD's loss: 1/2 (KL(q || p) + KL(p || q)) = 1/2 sum_c (q_c - p_c)(log q_c - log p_c).

    arXiv 2103.05959, whose code and documents call it JS; it is half the Jeffreys divergence, and the
    textbook JS is below. It needs a target without zeros (a re-normalised top-k label is infinitely far).
    """

    name = "sym_kl"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return 1/2 (KL(q || p) + KL(p || q))."""
        return 0.5 * ((log_q.exp() - log_p.exp()) * (log_q - log_p)).sum(-1)


class JensenShannon(SoftObjective):
    """Textbook Jensen-Shannon divergence: 1/2 KL(p || m) + 1/2 KL(q || m), m = (p + q) / 2; at most ln 2."""

    name = "js"

    def divergence(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return JS(q, p)."""
        log_m = torch.logaddexp(log_q, log_p) - math.log(2)
        return 0.5 * (times(log_q.exp(), log_q - log_m) + times(log_p.exp(), log_p - log_m)).sum(-1)


DIVERGENCES: dict[str, type[SoftObjective]] = {
    one.name: one for one in (Kl, SoftCrossEntropy, SymmetricKl, JensenShannon)
}
