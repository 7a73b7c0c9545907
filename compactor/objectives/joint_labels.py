"""Label augmentation: tell class and transformation at once, and learn from all copies' answer.

Lee, Hwang, Shin (arXiv 1910.05872), as its authors' code trains SLA+SD. Batches come from
`targets.transformed`, whose M copies of a sample lie together. Two objectives share one `JointHead`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.objectives import LogitObjective
from compactor.objectives.divergences import Kl
from compactor.objectives.train_only import (
    ON_PENULTIMATE,
    class_count,
    linear_head,
    of_first_head,
    penultimate,
    penultimate_width,
)
from compactor.records import IGNORE, Batch, Outputs, Step, Target, Term
from compactor.targets.transformed import JOINT, TransformedCopies
from compactor_runtimes.errors import UsageError


class JointHead:
    """A train-only linear head of C * M outputs on the student's penultimate feature, asked once a step."""

    def __init__(self, transformed: TransformedCopies) -> None:
        """Take the policy that makes the copies."""
        self.transformed, self.copies = transformed, transformed.copies
        self.module: nn.Module = nn.Identity()
        self.last: tuple[Batch, Tensor] | None = None

    def make(self, student: nn.Module) -> nn.Module:
        """Make the head.

        Raises:
            UsageError: the student's images cannot be transformed so.
        """
        assert isinstance(student, Student)
        _require_images(student, self.transformed)
        self.module = linear_head(penultimate_width(student), class_count(student) * self.copies)
        return self.module

    def __call__(self, student: Outputs, batch: Batch) -> Tensor:
        """Joint logits [B * M, C * M], with gradient."""
        if self.last is None or self.last[0] is not batch:
            self.last = (batch, self.module(penultimate(student)).float())
        return self.last[1]


class JointCrossEntropy(LogitObjective):
    """Cross-entropy of each copy to its joint label y * M + j; it owns the head."""

    needs = ON_PENULTIMATE

    def __init__(self, joint: JointHead) -> None:
        """Take the head."""
        self.joint = joint

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module:
        """Make the head."""
        return self.joint.make(student)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {joint: [B * M]}, valid where the sample has a label."""
        labels = batch.aux[JOINT]
        loss = F.cross_entropy(self.joint(student, batch), labels, ignore_index=IGNORE, reduction="none")
        return {"joint": Term(loss, labels != IGNORE)}


class SelfDistillation(LogitObjective):
    """T^2 KL(softmax(a / T) || softmax(u / T)): deployed head u on the sample as it is, a of all its copies.

    a_c is the mean over copies j of the joint logit c * M + j, and is taken as constant. Every sample counts,
    labelled or not.
    """

    needs = ON_PENULTIMATE

    def __init__(self, joint: JointHead, temperature: float) -> None:
        """Take the head and T."""
        self.joint, self.temperature, self.distance = joint, temperature, Kl()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {self_distill: [B * M]}, valid at each sample's first row, the untransformed one."""
        copies = self.joint.copies
        _, logits = of_first_head(student)
        together = aggregate(self.joint(student, batch).detach(), copies)
        log_q, log_p = ((one / self.temperature).log_softmax(-1) for one in (together, logits[::copies]))
        loss = self.temperature**2 * self.distance.divergence(log_q, log_p)
        first = torch.arange(len(logits), device=logits.device) % copies == 0
        return {"self_distill": Term(loss.repeat_interleave(copies), first)}


def aggregate(joint: Tensor, copies: int) -> Tensor:
    """Mean over a sample's copies j of the joint logit c * M + j: [B * M, C * M] -> [B, C]."""
    cells = joint.reshape(-1, copies, joint.shape[-1] // copies, copies)  # [B, M, C, M]
    return cells.diagonal(dim1=1, dim2=3).mean(-1)


def _require_images(student: Student, wanted: TransformedCopies) -> None:
    """Refuse transformations that images do not survive as images of the same kind.

    Raises:
        UsageError: quarter turns of what is no square, or other orders of the colours of grey images.
    """
    image = student.info.image
    assert image is not None  # the recipe's checks refuse texts
    if wanted.rotations == 4 and image.height != image.width:
        raise UsageError(
            f"options.rotations: 4 found, but images are {image.height} x {image.width} pixels, and a "
            "quarter turn swaps their sides; set rotations: 2, or data.image_size to a square"
        )
    if wanted.colors > 1 and image.channels != 3:
        raise UsageError(
            f"options.colors: {wanted.colors} found, but images have {image.channels} channel, expected 3 to "
            "put in another order; set colors: 1"
        )
