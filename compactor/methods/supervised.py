"""`method: supervised`: cross-entropy to the ground truth; the baseline, and how teachers are trained."""

from typing import Annotated

from msgspec import Meta, Struct

from compactor.methods import Method, Preset


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method."""

    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0


def build(options: Options) -> Preset:
    """Make the preset."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle
    from compactor.targets.ground_truth import GroundTruth

    return Preset([(HardCrossEntropy(options.label_smoothing), 1.0)], GroundTruth(), Shuffle())


METHOD = Method(options=Options, build=build, learns_from_teachers=False)
