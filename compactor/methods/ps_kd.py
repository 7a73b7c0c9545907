"""`method: ps_kd`: labels that are softened more and more by what the student said an epoch ago; no teacher.

Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (arXiv 2006.12000).
"""

from typing import Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset
from compactor_runtimes.tables import lookup


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cross-entropy to (1 - alpha_e) label + alpha_e (what the student last said of the sample), alpha_e
    = alpha (e + 1) / E in epoch e of E, counted from 0.
    """

    alpha: Annotated[float, Meta(gt=0, le=1)] = 0.8


def build(options: Options) -> Preset:
    """Make the preset."""
    from compactor.objectives.refined_labels import RefinedCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    return Preset(
        [(RefinedCrossEntropy(), 1.0)], lookup(TARGETS, "own-past", "target")(options.alpha), Shuffle()
    )


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=False,
    about=About(
        does="cross-entropy to labels softened by the student's own answers of an epoch ago",
        labels="needed",
        cost="2 bytes for each class of each training sample, in memory and in checkpoints",
        source="Kim et al., arXiv 2006.12000",
    ),
    targets=("own-past",),
    one_class=True,
)
