"""Objectives: what the student is pulled towards, as named losses that are not yet reduced.

Logit objectives read only `target`, so a label store can stand in for a teacher; feature objectives read
`teacher.features`. The trainer weighs, reduces and logs. A new objective is one file and the line of a
method.
"""

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

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make nothing."""
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""


def soft_pairs(student: Outputs, target: Target, temperature: float) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (head, log q, log p) [..., C] for every soft head: target and student at `temperature`.

    Both are computed in float32, also under autocast. A tempered target is softmax(log q / T), which equals
    softmax(logits / T) because logits and log-probabilities differ by a constant.
    """
    for head, soft in target.heads.items():
        if isinstance(soft, Hard):
            continue
        logits = student.logits[head].float()
        log_q = tempered(soft, logits.shape[-1], temperature)
        yield head, log_q, torch.log_softmax(logits / temperature, dim=-1)


def tempered(soft: Soft, num_classes: int, temperature: float) -> Tensor:
    """Log-probabilities of a soft target at a temperature."""
    log_q = soft.dense_log_p(num_classes).float()
    return log_q if temperature == 1 else torch.log_softmax(log_q / temperature, dim=-1)


def times(probabilities: Tensor, values: Tensor) -> Tensor:
    """Probabilities * values, where a probability of 0 gives 0 whatever the value (0 * log 0 = 0)."""
    return torch.where(probabilities > 0, probabilities * values, 0.0)


def term_name(name: str, head: str, target: Target) -> str:
    """`kl`, or `kl.intent` when there are several heads."""
    return name if len(target.heads) == 1 else f"{name}.{head}"
