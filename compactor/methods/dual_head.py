"""`method: dual_head`: the deployed head learns the labels, a train-only one the teachers' logits.

Yang et al., "Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head" (arXiv
2411.08937).
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.recipe.spec import LabelsSpec, StageSpec


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cross-entropy(labels) of the deployed head + aux_weight * T^2 sum_c log cosh((s_c - t_c) / 2T) of
    an auxiliary head's logits s and the teachers' mean logits t. The head is a `linear` layer, or an `mlp` of
    200 units, which the paper takes where architectures differ. `align` takes away what of the second loss's
    gradient works against the first's, which costs a second backward pass.
    """

    aux: Literal["linear", "mlp"] = "linear"
    aux_weight: Annotated[float, Meta(gt=0)] = 1.0
    temperature: Annotated[float, Meta(gt=0)] = 2.0
    align: bool = True


def build(options: Options) -> Preset:
    """Make the preset; the labels' loss comes first, which no policy changes."""
    from compactor.objectives.auxiliary_head import AuxiliaryHead
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle
    from compactor.trainer.gradients import one_sided_projection

    return Preset(
        [(HardCrossEntropy(), 1.0), (AuxiliaryHead(options.aux, options.temperature), options.aux_weight)],
        TargetPolicy(),
        Shuffle(),
        gradients=one_sided_projection if options.align else None,
    )


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse a label store.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{at}.labels: method dual_head learns the teachers' logits, and a label store keeps probabilities, "
        "which hold them but for a constant that matters here; remove labels to learn from live teachers"
    )


def told(options: Options, stage: "StageSpec") -> list[str]:
    """Whose batch the auxiliary head normalises by."""
    if options.aux == "linear":
        return []
    return ["aux is mlp: its BatchNorm normalises by the process's own part of a batch"]


METHOD = Method(
    options=Options,
    build=build,
    check_stored=check_stored,
    told=told,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy of the deployed head; a train-only head is pulled to the teachers' logits",
        labels="needed",
        cost="the teachers' forward; with align a second backward pass",
        source="Yang et al., arXiv 2411.08937",
    ),
    one_class=True,
)
