"""Objectives: what the student is pulled towards, as named losses that are not yet reduced.

Logit objectives read only `target`, so a label store can stand in for a teacher; feature objectives read
`teacher.features`. The trainer weighs, reduces and logs. A new objective is one file and the line of a
method.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from compactor.records import Batch, Hard, Needs, Outputs, Soft, Step, Target, Term

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class Objective(Protocol):
    """The contract of an objective."""

    needs: Needs
    lr: float | None
    """Constant learning rate of the train-only module; None = the student's at every step."""

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make the train-only module (a projector, a critic), which is optimised but never exported."""

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """See every training sample once, in order and without augmentation, if `needs.statistics`."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return the named, unreduced, unweighted losses."""


class LogitObjective:
    """What objectives on logits share: they need no features and train nothing of their own."""

    needs = Needs()
    lr: float | None = None

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make nothing."""
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""


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
        """Return the loss [...] of target q and student p, given as log-probabilities [..., C]."""

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
            name = self.name if len(target.heads) == 1 else f"{self.name}.{head}"
            terms[name] = Term(loss, batch.mask if loss.dim() == 2 else None)
        return terms


def soft_pairs(
    student: Outputs, target: Target, temperature: float, target_temperature: float
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (head, log q, log p) [..., C] for every soft head, target and student at their temperatures.

    Both are computed in float32, also under autocast. A tempered target is softmax(log q / T), which equals
    softmax(logits / T) because logits and log-probabilities differ by a constant.
    """
    for head, soft in target.heads.items():
        if isinstance(soft, Hard):
            continue
        logits = student.logits[head].float()
        log_q = tempered(soft, logits.shape[-1], target_temperature)
        yield head, log_q, torch.log_softmax(logits / temperature, dim=-1)


def tempered(soft: Soft, num_classes: int, temperature: float) -> Tensor:
    """Log-probabilities of a soft target at a temperature."""
    log_q = soft.dense_log_p(num_classes).float()
    return log_q if temperature == 1 else torch.log_softmax(log_q / temperature, dim=-1)


def times(probabilities: Tensor, values: Tensor) -> Tensor:
    """Probabilities * values, where a probability of 0 gives 0 whatever the value (0 * log 0 = 0)."""
    return torch.where(probabilities > 0, probabilities * values, 0.0)
