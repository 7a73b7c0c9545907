"""`method: pld`: Plackett-Luce distillation, where the student learns the teacher's ranking of classes.

Bassam, Zhu, Bian, "PLD: A Choice-Theoretic List-Wise Knowledge Distillation" (arXiv 2506.12542): the label is
ranked first, then the other classes as the teacher has them, and every choice is weighed by the teacher's
probability of it. It is the whole loss: there is no cross-entropy beside it, and so no weight between parts.
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

    loss = sum over classes in rank order of q * (log of the sum of the exponentials of the student's logits
    from this rank on, minus the logit of this rank), q the teacher's probabilities at `temperature`. The
    student's logits have none. Samples without a label do not count. `average` says what several teachers are
    averaged in; `head_weights` multiply the losses of single heads.
    """

    temperature: Annotated[float, Meta(gt=0)] = 1.0
    average: Literal["probabilities", "logits"] = "probabilities"
    head_weights: dict[str, Annotated[float, Meta(ge=0)]] = {}


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
    """Make the preset for a label store; classes beyond its k share what is left, and rank by class id."""
    return _preset(options, stored.labels())


def _preset(options: Options, target: "TargetPolicy") -> Preset:
    from compactor.objectives.with_label import PlackettLuce
    from compactor.samplers.shuffle import Shuffle

    return Preset([(PlackettLuce(options.temperature), 1.0)], target, Shuffle(), options.head_weights)


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    learns_from_teachers=True,
    about=About(
        does="the likelihood of the teachers' ranking of classes, the label first",
        labels="needed",
        cost="the teachers' forward, or none from a store",
        source="Bassam et al., arXiv 2506.12542",
    ),
    targets=("live", "stored"),
)
