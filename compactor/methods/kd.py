"""`method: kd`: a soft divergence to the teachers, mixed with cross-entropy to the ground truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), section 2. What else
the two may be compared by is in `kd_parts.py`.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import CLASSES_OR_LABELS, About, Method
from compactor.methods.from_store import require_finite, require_probabilities
from compactor.methods.kd_parts import (
    DistOptions,
    Divergence,
    DkdOptions,
    FeatureOptions,
    RkdOptions,
    SkdOptions,
    feature_objectives,
    soft_objectives,
)
from compactor.records import has_several, heads_of
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.recipe.spec import LabelsSpec, StageSpec
    from compactor.trainer.contracts import TargetPolicy

OF_CLASSES = ("dkd", "dist", "skd", "wsl")  # defined for one distribution over classes alone


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * divergence(teacher, student; temperature) + (1 - soft_weight) *
    cross-entropy(labels) + the losses of `features`. `average` says what several teachers are averaged in:
    their probabilities or their logits. `class_weights: balanced` and `head_weights` weigh as in `method:
    supervised`. Of any number of labels both parts are sums over labels of the two-sided (yes and no) forms.

    `dkd` and `wsl` read labels. The records `dkd`, `dist` and `skd` are of the divergence of that name.
    `features` compare inner tensors with those of the first teacher, which must run beside the student.
    """

    divergence: Divergence = "kl"
    temperature: Annotated[float, Meta(gt=0)] = 4.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.9
    dkd: DkdOptions | None = None
    dist: DistOptions | None = None
    skd: SkdOptions | None = None
    features: list[FeatureOptions] = []
    average: Literal["probabilities", "logits"] = "probabilities"
    class_weights: Literal["none", "balanced"] = "none"
    head_weights: dict[str, Annotated[float, Meta(ge=0)]] = {}

    def __post_init__(self) -> None:
        """Check that every option has an effect.

        Raises:
            ValueError: class weights without a hard part, the record of another divergence, or the same loss
                of a feature twice.
        """
        if self.class_weights != "none" and self.soft_weight == 1:
            raise ValueError("class_weights weighs the cross-entropy, which soft_weight 1 leaves out")
        for name, record in (("dkd", self.dkd), ("dist", self.dist), ("skd", self.skd)):
            if record is not None and self.divergence != name:
                raise ValueError(
                    f"{name} has no effect with divergence {self.divergence}; remove it, or set "
                    f"divergence to {name}"
                )
        losses = [(type(one), one.name) for one in self.features]
        if len(set(losses)) < len(losses):
            raise ValueError("features names the same loss of the same feature twice; remove one")


def build(options: Options) -> Preset:
    """Make the preset for live teachers."""
    preset = _preset(options, lookup(TARGETS, "live", "target")(options.average))
    preset.objectives.extend(pair for one in options.features for pair in feature_objectives(one))
    return preset


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse what a label store does not hold.

    Raises:
        UsageError: the mean of logits or a teacher's features were asked for, or the loss of such labels is
            infinite.
    """
    require_probabilities(options.average, at)
    if options.features:
        raise UsageError(
            f"{at}.options.features: a label store holds what teachers answer and none of their features; "
            "remove the option, or remove labels to learn from live teachers"
        )
    require_finite(options.divergence, labels, at)


def check_task(options: Options, task: str, at: str) -> None:
    """Refuse divergences that mean nothing for the answers of a task.

    Raises:
        UsageError: one over classes where any number of labels may be true, or one across samples where every
            token is answered for.
    """
    if options.divergence in OF_CLASSES and has_several(task):
        raise UsageError(
            f"{at}.options.divergence: {options.divergence} compares one distribution over classes, task "
            f"{task} has any number of labels a sample; use kl, soft_ce, sym_kl or js"
        )
    if options.divergence == "dist" and any(head.level != "sample" for head in heads_of(task)):
        raise UsageError(
            f"{at}.options.divergence: dist compares a class's probabilities across samples, task {task} "
            "answers for every token; use another divergence"
        )


def told(options: Options, stage: "StageSpec") -> list[str]:
    """What is compared across the samples of a batch."""
    across = {
        "dist": options.divergence == "dist",
        "rkd": any(isinstance(one, RkdOptions) for one in options.features),
    }
    return [
        f"{name} compares the samples of a batch, of several processes those of the process's own part"
        for name, is_asked in across.items()
        if is_asked
    ]


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store, which holds the teachers' mean probabilities."""
    return _preset(options, stored.labels())


def _preset(options: Options, target: "TargetPolicy") -> Preset:
    """Without a hard share only `dkd` and `wsl` read the ground truth: unlabelled data will do for others."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    soft = soft_objectives(
        options.divergence,
        options.temperature,
        dkd=options.dkd or DkdOptions(),
        dist=options.dist or DistOptions(),
        skd=options.skd or SkdOptions(),
    )
    objectives: list[Weighted] = [(one, options.soft_weight * weight) for one, weight in soft]
    share = 1.0 - options.soft_weight
    if share:
        objectives.append((HardCrossEntropy(class_weights=options.class_weights), share))
    return Preset(objectives, target, Shuffle(), options.head_weights)


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    check_task=check_task,
    told=told,
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
