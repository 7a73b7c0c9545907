"""MEAL V2's discriminator: tell the student's scores from the teachers' (arXiv 2009.08453, section 3.3).

As the published weights were trained, the student is not set against it: its gradient lowers this loss too,
so that it stays distinguishable from the teachers. Its authors call that a regulariser.
"""

from itertools import pairwise
from math import isqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.objectives import LogitObjective
from compactor.records import LAM, PARTNER, Batch, Hard, Outputs, Soft, Step, Target, Term
from compactor_runtimes.errors import UsageError

STUDENT, TEACHER = (1.0, 0.0), (0.0, 1.0)  # what the two outputs are to say of a row


class Discriminator(nn.Module):
    """Three linear layers C -> C // K -> C // K // K -> 2; the original's 1 x 1 convolutions are the same."""

    def __init__(self, num_classes: int, reduction: int, *, last_relu: bool) -> None:
        """Make the layers with PyTorch's default start.

        Raises:
            UsageError: a layer would have no units.
        """
        super().__init__()
        widths = [num_classes, num_classes // reduction, num_classes // reduction // reduction, 2]
        if 0 in widths:
            raise UsageError(
                f"options.discriminator.reduction: {reduction} makes layers of "
                f"{' -> '.join(map(str, widths))} units for {num_classes} classes, expected 1 or more "
                f"in each; set it to at most {isqrt(num_classes)}"
            )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*(layers if last_relu else layers[:-1]))

    def forward(self, scores: Tensor) -> Tensor:
        """Scores [..., C] -> logits [..., 2] of (student, teacher)."""
        answers: Tensor = self.layers(scores)
        return answers


class Adversary(LogitObjective):
    """Binary cross-entropy of the discriminator, half on the student's row and half on the teachers'.

    Its mean over a batch is the original's mean over 2 N rows of two elements. With labels that were mixed
    after they were stored, lam L(a) + (1 - lam) L(b), as in the original's fast variant.
    """

    def __init__(
        self,
        *,
        reduction: int = 8,
        last_relu: bool = True,
        student: Literal["same-sign", "detached", "reversed"] = "same-sign",
        scores: Literal["logits", "probabilities"] = "logits",
        lr: float | None = None,
    ) -> None:
        """Set how it is built and what it does to the student.

        Args:
            reduction: K, by which each layer is narrower.
            last_relu: put a ReLU behind the last layer too, as the original does; its loss is then at least
                ln(2) / 2, and ln(2) without any gradient once that layer is dead.
            student: its gradient lowers the loss too (`same-sign`), does not exist, or raises it (a gradient
                reversal layer, as in a GAN).
            scores: mean of the teachers' logits, which needs live teachers, or their mean probabilities.
            lr: constant learning rate of its layers; absent = the student's at every step.
        """
        self.reduction, self.last_relu, self.student, self.scores = reduction, last_relu, student, scores
        self.lr = lr
        self.layers = nn.ModuleDict()

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make one for each head.

        Raises:
            UsageError: a layer would have no units.
        """
        assert isinstance(student, Student)
        self.layers = nn.ModuleDict(
            {
                head: Discriminator(len(names), self.reduction, last_relu=self.last_relu)
                for head, names in student.info.classes.items()
            }
        )
        return self.layers

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {discriminator: [B] or [B, L]}, or {discriminator.head: ...} for several heads."""
        terms = {}
        for head, layers in self.layers.items():
            logits = student.logits[head].float()
            ours = logits if self.scores == "logits" else logits.softmax(-1)
            loss = _row_loss(layers(self._towards_student(ours)), STUDENT)
            loss = loss + self._teacher_loss(head, layers, teacher, target, batch, logits.shape[-1])
            terms["discriminator" if len(self.layers) == 1 else f"discriminator.{head}"] = Term(loss / 2)
        return terms

    def _towards_student(self, scores: Tensor) -> Tensor:
        if self.student == "detached":
            return scores.detach()
        return _Reverse.apply(scores) if self.student == "reversed" else scores

    def _teacher_loss(
        self,
        head: str,
        layers: nn.Module,
        teacher: Outputs | None,
        target: Target,
        batch: Batch,
        num_classes: int,
    ) -> Tensor:
        if self.scores == "logits":
            assert teacher is not None
            return _row_loss(layers(teacher.logits[head].float()), TEACHER)
        unmixed = (target.unmixed or target.heads)[head]
        losses = _row_loss(layers(_probabilities(unmixed, num_classes)), TEACHER)
        if target.unmixed is None:
            return losses
        lam = batch.aux[LAM].view(-1, *[1] * (losses.dim() - 1))
        return lam * losses + (1 - lam) * losses[batch.aux[PARTNER]]


def _probabilities(soft: Soft | Hard, num_classes: int) -> Tensor:
    assert isinstance(soft, Soft)
    return soft.dense_log_p(num_classes).float().exp()


def _row_loss(answers: Tensor, expected: tuple[float, float]) -> Tensor:
    """Mean over the two elements of each row [..., 2] -> [...]."""
    wanted = answers.new_tensor(expected).expand_as(answers)
    return F.binary_cross_entropy_with_logits(answers, wanted, reduction="none").mean(-1)


class _Reverse(torch.autograd.Function):
    """Gradient reversal layer (Ganin, Lempitsky, arXiv 1409.7495): the identity, its gradient negated."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]
