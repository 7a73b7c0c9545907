"""`method: wad`: labels where there are any, elsewhere the nearest class prototype, weighed by its lead.

Semi-supervised training by the weighting of WAD, for data whose unlabelled part holds other classes too.
"""

from typing import Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.tables import lookup


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cross-entropy(labels) + pseudo_weight * mean over samples without a label of w * cross-entropy(y),
    y the class whose prototype has the largest cosine with the sample's `feature` of the first teacher, an
    encoder, and w that cosine less the second largest.
    """

    feature: str = "penultimate"
    pseudo_weight: Annotated[float, Meta(gt=0)] = 1.0


def build(options: Options) -> Preset:
    """Make the preset; the teacher embeds every sample once, before training."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.pseudo_ce import PseudoCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    target = lookup(TARGETS, "prototypes", "target")(options.feature)
    objectives: list[Weighted] = [(HardCrossEntropy(), 1.0), (PseudoCrossEntropy(), options.pseudo_weight)]
    return Preset(objectives, target, Shuffle(), teachers_once=True)


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=True,
    about=About(
        does="labels, and class prototypes of an encoder for samples without one, weighed by their lead",
        labels="needed",
        cost="an encoder's forward of each sample, once",
        source="WAD; no teacher of classes is asked",
    ),
    targets=("prototypes",),
)
