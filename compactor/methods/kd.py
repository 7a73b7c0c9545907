"""`method: kd`: a soft divergence to the teachers, mixed with cross-entropy to the ground truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), section 2.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import CLASSES_OR_LABELS, About, Method
from compactor.methods.from_store import require_finite
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.recipe.spec import LabelsSpec
    from compactor.trainer.contracts import TargetPolicy


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * divergence(teacher, student; temperature) + (1 - soft_weight) *
    cross-entropy(labels). `average` says what several teachers are averaged in: their probabilities or
    their logits. `class_weights: balanced` and `head_weights` weigh as in `method: supervised`. Of any
    number of labels both parts are sums over labels of the two-sided (yes and no) forms.
    """

    divergence: Literal["kl", "soft_ce", "sym_kl", "js"] = "kl"
    temperature: Annotated[float, Meta(gt=0)] = 4.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.9
    average: Literal["probabilities", "logits"] = "probabilities"
    class_weights: Literal["none", "balanced"] = "none"
    head_weights: dict[str, Annotated[float, Meta(ge=0)]] = {}

    def __post_init__(self) -> None:
        """Check that every option has an effect.

        Raises:
            ValueError: class weights without a hard part.
        """
        if self.class_weights != "none" and self.soft_weight == 1:
            raise ValueError("class_weights weighs the cross-entropy, which soft_weight 1 leaves out")


def build(options: Options) -> Preset:
    """Make the preset for live teachers."""
    return _preset(options, lookup(TARGETS, "live", "target")(options.average))


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse what a label store does not hold.

    Raises:
        UsageError: the mean of logits was asked for, or the loss of such labels is infinite.
    """
    if options.average == "logits":
        raise UsageError(
            f"{at}.options.average: logits found, but a label store holds mean probabilities; remove the "
            "option, or remove labels to learn from live teachers"
        )
    require_finite(options.divergence, labels, at)


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store, which holds the teachers' mean probabilities."""
    return _preset(options, stored.labels())


def _preset(options: Options, target: "TargetPolicy") -> Preset:
    """Without a hard share the ground truth is never read, so unlabelled data will do."""
    from compactor.objectives.divergences import DIVERGENCES
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    divergence = DIVERGENCES[options.divergence](temperature=options.temperature)
    hard = HardCrossEntropy(class_weights=options.class_weights)
    share = 1.0 - options.soft_weight
    objectives: list[Weighted] = [(divergence, options.soft_weight)]
    if share:
        objectives.append((hard, share))
    return Preset(objectives, target, Shuffle(), options.head_weights)


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    learns_from_teachers=True,
    about=About(
        does="a divergence to the teachers at a temperature, mixed with cross-entropy to the labels",
        labels="for a share of the loss",
        cost="the teachers' forward, or none from a store",
        source="Hinton et al., arXiv 1503.02531",
    ),
    targets=("live", "stored"),
    activations=CLASSES_OR_LABELS,
)
