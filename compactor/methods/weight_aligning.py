"""`method: weight_aligning`: new classes are learnt beside those that an old model knows, and made even.

Zhao, Xiao, Gan, Zhang, Xia, "Maintaining Discrimination and Fairness in Class Incremental Learning" (WA,
arXiv 1911.07053). The share of the two losses is the one that ports of the method agree on.
"""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset, TargetPolicy

if TYPE_CHECKING:
    from compactor.recipe.spec import StageSpec


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = (1 - old_weight) * cross-entropy(labels) + old_weight * soft cross-entropy to the teacher on its
    own classes, both sides at `temperature`. `old_weight` absent is the share of the classes that the teacher
    knows. `align: false` leaves the rows of the last layer as they were trained.
    """

    old_weight: Annotated[float, Meta(ge=0, lt=1)] | None = None
    temperature: Annotated[float, Meta(gt=0)] = 2.0
    align: bool = True


def build(options: Options) -> Preset:
    """Make the preset; what the losses weigh is known once the teacher is."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.old_classes import OldClassCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    old = OldClassCrossEntropy(options.temperature, options.old_weight)
    return Preset(
        [(HardCrossEntropy(), lambda step: 1 - old.share), (old, lambda step: old.share)],
        TargetPolicy(),
        Shuffle(),
        finish=old.align if options.align else None,
    )


def told(options: Options, stage: "StageSpec") -> list[str]:
    """Say where the old classes would have to be learnt anew."""
    if stage.init is not None:
        return []
    return ["the student does not start from the old model's weights; init: stage:ID does, as published"]


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy on all classes, soft cross-entropy to an old model on its own; new rows rescaled",
        labels="needed",
        cost="the teacher's forward",
        source="Zhao et al., arXiv 1911.07053",
    ),
    told=told,
    teacher_classes="some",
    one_class=True,
    most_teachers=1,
)
