"""ND: a student's feature points where the teacher's class mean points, and is at least as long as its own.

Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction" (arXiv
2305.17007), as its authors' code trains it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.student import features_named
from compactor.objectives.train_only import penultimate, penultimate_width, projector
from compactor.records import IGNORE, PENULTIMATE, Batch, Needs, Outputs, Step, Target, Term
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

SHORTEST = 1e-8  # below this a norm divides by itself


class NormAndDirection:
    """L = 1 - <f, e_y> / max(|f|, |t|): student's feature f, teacher's t, direction e_y of class y's mean.

    1. The means are those of the first teacher's features over all labelled training samples, by their true
       labels, in eval mode and without augmentation, in one pass before training.
    2. Norms have gradients: below the teacher's norm f is drawn out along e_y, above it L is 1 - cos(f, e_y).
    3. Where widths differ f comes from a projector that is trained with the student and thrown away.
    4. Samples without a label do not count, nor those of a class whose mean has no direction.
    """

    needs = Needs(
        student=frozenset({PENULTIMATE}), teacher=frozenset({PENULTIMATE}), option="method", statistics=True
    )
    lr: float | None = None
    as_student = False

    def __init__(self) -> None:
        """Know no means yet."""
        self.projector: nn.Module | None = None
        self.directions = torch.empty(0)  # [C, D], zeros for a class without a mean

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make the projector where widths differ."""
        ours, theirs = penultimate_width(student), penultimate_width(teachers[0])
        self.projector = projector(ours, theirs) if ours != theirs else None
        return self.projector

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Average the teacher's features of each class.

        Raises:
            UsageError: no training sample has a label.
        """
        assert teachers is not None
        wanted = features_named(self.needs.teacher, teachers.models[0], "teacher", at="method nd")
        sums, counts = torch.zeros(()), torch.zeros(())
        for batch in batches:
            said = teachers(batch, wanted)
            (head, labels), *_ = batch.y.items()
            shares = _one_hot(labels, said.logits[head].shape[-1])
            # a product and not index_add: the same to the last bit, on a GPU too, when a training goes on
            sums = sums.to(shares) + shares.T @ penultimate(said).double()
            counts = counts.to(shares) + shares.sum(0)
        if not counts.any():
            raise UsageError(
                "method nd: no training sample has a label, so no class has a mean; use method kd, which can "
                "do without labels"
            )
        means = sums / counts.clamp(min=1).unsqueeze(-1)
        self.directions = (means / means.norm(dim=-1, keepdim=True).clamp(min=SHORTEST)).float()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {nd: [B]}, valid where there is a label."""
        assert teacher is not None
        ours = penultimate(student)
        if self.projector is not None:
            ours = self.projector(ours).float()
        (labels,) = batch.y.values()
        towards = self.directions[labels.clamp(min=0)]
        valid = (labels != IGNORE) & towards.any(-1)
        return {"nd": Term(norm_and_direction(ours, penultimate(teacher), towards), valid)}


def norm_and_direction(ours: Tensor, theirs: Tensor, towards: Tensor) -> Tensor:
    """The loss [B] of features [B, D] and [B, D] and of directions [B, D] of length 1."""
    longer = torch.maximum(
        torch.linalg.vector_norm(ours, dim=-1), torch.linalg.vector_norm(theirs, dim=-1)
    ).clamp(min=SHORTEST)
    return 1 - (ours * towards).sum(-1) / longer


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Float64 [B, C]; a row without a label is all zeros."""
    hot = F.one_hot(labels.clamp(min=0), num_classes).double()
    return hot * (labels != IGNORE).unsqueeze(-1)
