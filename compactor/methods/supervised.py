"""`method: supervised`: cross-entropy to the ground truth; the baseline, and how teachers are trained."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import CLASSES_OR_LABELS, About, Method
from compactor.records import heads_of
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    With `class_weights: balanced` a sample's loss is multiplied by n / (C * n_c): n training samples with
    labels, n_c of them of its class, C classes that occur. `head_weights` multiply the losses of single
    heads, such as {slot: 4}. Of any number of labels the loss is the binary cross-entropy, summed over
    labels, which are not weighed. `record_forgetting` counts how often each sample goes from right to wrong,
    for a later stage with `sampler: scored-subset`.
    """

    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    head_weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    record_forgetting: bool = False


def build(options: Options) -> Preset:
    """Make the preset."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    hard = HardCrossEntropy(options.label_smoothing, class_weights=options.class_weights)
    target = lookup(TARGETS, "forgetting", "target")() if options.record_forgetting else TargetPolicy()
    return Preset([(hard, 1.0)], target, Shuffle(), options.head_weights)


def check_task(options: Options, task: str, at: str) -> None:
    """Refuse to count what a task's answers cannot forget.

    Raises:
        UsageError: its first head answers otherwise than with one class of a sample.
    """
    head = heads_of(task)[0]
    if options.record_forgetting and (head.level, head.activation) != ("sample", "softmax"):
        raise UsageError(
            f"{at}.options.record_forgetting: a sample is forgotten when its one class is answered wrongly, "
            f"task {task} has no single class of a sample; remove it"
        )


METHOD = Method(
    options=Options,
    build=build,
    check_task=check_task,
    learns_from_teachers=False,
    about=About(
        does="cross-entropy to the labels: the baseline, and teachers that are trained on the spot",
        labels="needed",
        cost="none",
    ),
    targets=("forgetting",),
    activations=CLASSES_OR_LABELS,
)
