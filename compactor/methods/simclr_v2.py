"""`method: simclr_v2`: the distillation step of SimCLRv2, on labelled and unlabelled images alike.

Chen, Kornblith, Swersky, Norouzi, Hinton, "Big Self-Supervised Models are Strong Semi-Supervised Learners"
(arXiv 2006.10029), step 3, as the authors' notebook trains it: soft cross-entropy, both sides at temperature
T, with the weight T^2. Its gradients are those of `method: kd` with `divergence: kl`, whose loss is less by
the teacher's entropy, a constant.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.methods.from_store import require_probabilities
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.recipe.spec import LabelsSpec
    from compactor.trainer.contracts import TargetPolicy


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * T^2 * H(teacher, student; T) over all samples + (1 - soft_weight) *
    cross-entropy(labels) over the labelled ones. `average` says what several teachers are averaged in.
    """

    temperature: Annotated[float, Meta(gt=0)] = 1.0
    soft_weight: Annotated[float, Meta(gt=0, le=1)] = 1.0
    average: Literal["probabilities", "logits"] = "probabilities"


def build(options: Options) -> Preset:
    """Make the preset for live teachers."""
    return _preset(options, lookup(TARGETS, "live", "target")(options.average))


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse what a label store does not hold.

    Raises:
        UsageError: the mean of logits was asked for.
    """
    require_probabilities(options.average, at)


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store."""
    return _preset(options, stored.labels())


def _preset(options: Options, target: "TargetPolicy") -> Preset:
    """Without a hard share labels are never read."""
    from compactor.objectives.divergences import SoftCrossEntropy
    from compactor.objectives.hard_ce import share_of_labels
    from compactor.samplers.shuffle import Shuffle

    soft = SoftCrossEntropy(temperature=options.temperature)
    weight = options.soft_weight * options.temperature**2
    return Preset([(soft, weight), *share_of_labels(options.soft_weight)], target, Shuffle())


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    learns_from_teachers=True,
    about=About(
        does="soft cross-entropy to the teacher on labelled and unlabelled samples, with the weight T^2",
        labels="for a share of the loss",
        cost="the teacher's forward, or none from a store",
        source="Chen et al., arXiv 2006.10029",
    ),
    targets=("live", "stored"),
)
