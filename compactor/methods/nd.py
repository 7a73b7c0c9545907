"""`method: nd`: cross-entropy, KL to the teachers, and the norm and direction of the student's feature.

Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction" (arXiv
2305.17007), the KD++ of its authors' code.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.records import Step
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.recipe.spec import LabelsSpec, StageSpec

Weight = Annotated[float, Meta(ge=0)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = hard_weight * cross-entropy(labels) + kd_weight * min(1, epoch / kd_warmup_epochs) * T^2
    KL(teachers, student) + nd_weight * (1 - <f, e_y> / max(|f|, |t|)), epochs counted from 0: student's and
    first teacher's features f and t, direction e_y of the mean of the teacher's features of class y.
    """

    hard_weight: Weight = 1.0
    kd_weight: Weight = 1.0
    temperature: Annotated[float, Meta(gt=0)] = 4.0
    kd_warmup_epochs: Weight = 20.0
    nd_weight: Annotated[float, Meta(gt=0)] = 1.0


def build(options: Options) -> Preset:
    """Make the preset; a term of weight 0 is left out."""
    from compactor.objectives.divergences import Kl
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.norm_direction import NormAndDirection
    from compactor.samplers.shuffle import Shuffle

    weighted: list[Weighted] = []
    if options.hard_weight:
        weighted.append((HardCrossEntropy(), options.hard_weight))
    if options.kd_weight:
        weighted.append((Kl(options.temperature), rising(options.kd_weight, options.kd_warmup_epochs)))
    weighted.append((NormAndDirection(), options.nd_weight))
    return Preset(weighted, lookup(TARGETS, "live", "target")(), Shuffle())


def rising(weight: float, epochs: float) -> Callable[[Step], float]:
    """A weight that rises from 0 in the first epoch to its full height after `epochs`."""

    def at(step: Step) -> float:
        return weight * min(1.0, step.epoch / epochs) if epochs else weight

    return at


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse a label store.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{at}.labels: method nd compares features of a teacher, and a label store keeps probabilities; "
        "remove labels to learn from live teachers, or use method kd"
    )


def told(options: Options, stage: "StageSpec") -> list[str]:
    """What comes of the warm-up in a short stage, and whose batch a projector normalises by."""
    lines = [
        "where the student's last feature has another width than the teacher's, a projector stands between, "
        "whose BatchNorm normalises by the process's own part of a batch"
    ]
    last = None if stage.epochs is None else stage.epochs - 1
    if options.kd_weight and last is not None and last < options.kd_warmup_epochs:
        reached = rising(options.kd_weight, options.kd_warmup_epochs)(Step(0, 1, last, stage.epochs or 1))
        lines.append(
            f"kd_warmup_epochs is {options.kd_warmup_epochs:g} of {stage.epochs} epochs: the weight of the "
            f"KL comes to {reached:.3g} of {options.kd_weight:g}"
        )
    return lines


METHOD = Method(
    options=Options,
    build=build,
    check_stored=check_stored,
    told=told,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy and KL, and a feature that points to the teacher's class mean with a large norm",
        labels="needed",
        cost="the teachers' forward, and once over the training samples before",
        source="Wang et al., arXiv 2305.17007",
    ),
    targets=("live",),
    one_class=True,
)
