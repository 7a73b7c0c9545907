"""A method of your own: focal loss to the labels, beside a soft target of the teachers.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv 1708.02002): samples that the student already gets
right count less, by (1 - p)^gamma.
"""

from typing import Annotated

import torch.nn.functional as F
from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.objectives import LogitObjective
from compactor.objectives.divergences import DIVERGENCES
from compactor.records import IGNORE, Batch, Outputs, Step, Target, Term
from compactor.samplers.shuffle import Shuffle
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.tables import lookup


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method: loss = focal(labels; gamma) + soft_weight * KL(teachers, student)."""

    gamma: Annotated[float, Meta(ge=0)] = 2.0
    soft_weight: Annotated[float, Meta(ge=0)] = 1.0


class FocalLoss(LogitObjective):
    """(1 - p)^gamma times the cross-entropy; p is the student's probability of the label."""

    def __init__(self, gamma: float) -> None:
        """Set gamma >= 0; 0 is cross-entropy."""
        self.gamma = gamma

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {focal: [B]}, valid where there is a label."""
        terms = {}
        for head, labels in batch.y.items():
            loss = F.cross_entropy(
                student.logits[head].float(), labels, ignore_index=IGNORE, reduction="none"
            )
            weight = (1 - (-loss.detach()).exp()) ** self.gamma
            terms["focal" if len(batch.y) == 1 else f"focal.{head}"] = Term(weight * loss, labels != IGNORE)
        return terms


def build(options: Options) -> Preset:
    """Make the preset: weighted objectives, where soft targets come from, which samples an epoch visits."""
    objectives: list[Weighted] = [
        (FocalLoss(options.gamma), 1.0),
        (DIVERGENCES["kl"](temperature=1.0), options.soft_weight),
    ]
    return Preset(objectives, lookup(TARGETS, "live", "target")(), Shuffle())


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=True,
    about=About(
        does="focal loss to the labels beside KL to the teachers",
        labels="needed",
        cost="the teachers' forward",
        source="Lin et al., arXiv 1708.02002",
    ),
    targets=("live",),
)
