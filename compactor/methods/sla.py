"""`method: sla`: tell class and rotation at once, and distil all rotations' answer into the plain head.

Lee, Hwang, Shin, "Self-supervised Label Augmentation via Input Transformations" (arXiv 1910.05872), its
SLA+SD; no teacher runs.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.recipe.spec import StageSpec

Weight = Annotated[float, Meta(ge=0)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = joint_weight * cross-entropy(class and transformation; all M copies) + cross-entropy(labels) +
    distill_weight * T^2 KL(all copies' answer, student), the latter two of the deployed head on the sample as
    it is. M = rotations * colors: 4 quarter turns or 2 half turns, and 3 or 6 orders of the colours.
    """

    rotations: Literal[1, 2, 4] = 4
    colors: Literal[1, 3, 6] = 1
    joint_weight: Annotated[float, Meta(gt=0)] = 1.0
    distill_weight: Weight = 1.0
    temperature: Annotated[float, Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        """Check that something is transformed.

        Raises:
            ValueError: nothing is, or a temperature without effect.
        """
        if self.copies == 1:
            raise ValueError(
                "rotations and colors are both 1, so nothing is transformed; set rotations to 2 or 4, or "
                "colors to 3 or 6"
            )
        if self.temperature != 1 and not self.distill_weight:
            raise ValueError("temperature has no effect where distill_weight is 0; remove it")

    @property
    def copies(self) -> int:
        """M, the rows that a sample makes."""
        return self.rotations * self.colors


def build(options: Options) -> Preset:
    """Make the preset; the joint head's objective comes first, because it owns the head."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.joint_labels import JointCrossEntropy, JointHead, SelfDistillation
    from compactor.samplers.shuffle import Shuffle

    transformed = lookup(TARGETS, "transformed", "target")(options.rotations, options.colors)
    joint = JointHead(transformed)
    weighted: list[Weighted] = [
        (JointCrossEntropy(joint), options.joint_weight),
        (HardCrossEntropy(), 1.0),
    ]
    if options.distill_weight:
        weighted.append((SelfDistillation(joint, options.temperature), options.distill_weight))
    return Preset(weighted, transformed, Shuffle())


def told(options: Options, stage: "StageSpec") -> list[str]:
    """How large steps become."""
    return [
        f"a step trains on {options.copies} copies of each sample: {options.copies * stage.batch_size} rows "
        f"for batch_size {stage.batch_size}, all of which the student's BatchNorm sees"
    ]


METHOD = Method(
    options=Options,
    build=build,
    told=told,
    learns_from_teachers=False,
    about=About(
        does="a train-only head tells class and rotation at once; its mean answer teaches the plain head",
        labels="needed",
        cost="forward and backward on every copy, 4 by default",
        source="Lee et al., arXiv 1910.05872",
    ),
    targets=("transformed",),
    one_class=True,
    images_only=True,
    copies=lambda options: options.copies,
)
