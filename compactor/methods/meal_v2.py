"""`method: meal_v2`: the mean of several teachers' softmaxes, and a discriminator; hard labels do not enter.

Shen, Savvides, "MEAL V2: Boosting Vanilla ResNet-50 to 80%+ Top-1 Accuracy on ImageNet without Tricks"
(arXiv 2009.08453). The defaults are those that the published weights were trained with. From a label store
(`labels`) it is the authors' fast variant, FKD MEAL V2.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.objectives.discriminator import Adversary
    from compactor.recipe.spec import LabelsSpec

Weight = Annotated[float, Meta(ge=0)]
Above0 = Annotated[float, Meta(gt=0)]


class DiscriminatorOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The discriminator: C -> C // reduction -> C // reduction // reduction -> 2 units.

    `lr: student` gives it the student's rate, as the published weights were trained by an oversight of the
    schedule; 1e-4, held constant, is what was intended. `last_relu` keeps the ReLU behind the last layer,
    which can die and then teaches nothing; false is the sane choice. `student` says what it does to the
    student: `same-sign` (as published: a regulariser), `detached` (nothing) or `reversed` (adversarial).
    `scores` are the teachers' mean `logits` or mean `probabilities`; `published` = logits of live teachers,
    probabilities of a label store.
    """

    reduction: Annotated[int, Meta(ge=2)] = 8
    weight: Above0 = 1.0
    lr: Literal["student"] | Above0 = "student"
    last_relu: bool = True
    student: Literal["same-sign", "detached", "reversed"] = "same-sign"
    scores: Literal["published", "logits", "probabilities"] = "published"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cross-entropy to the mean of the teachers' softmaxes + weight * discriminator + hard_weight *
    cross-entropy(labels). `discriminator: null` leaves it out. `cutmix` pastes a box of another image of the
    batch into each: live teachers see the mixed image and no label is mixed; stored labels are mixed by area.
    `crops_per_image` is for label stores, as in `method: fkd`.
    """

    discriminator: DiscriminatorOptions | None = DiscriminatorOptions()
    hard_weight: Weight = 0.0
    cutmix: bool = False
    crops_per_image: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        """Check that a label means the image that it is read for.

        Raises:
            ValueError: hard labels of mixed images.
        """
        if self.cutmix and self.hard_weight:
            raise ValueError(
                "hard_weight reads one label, but cutmix pastes two images; set one of them to 0"
            )


def build(options: Options) -> Preset:
    """Make the preset for live teachers."""
    from compactor.samplers.shuffle import Shuffle

    target = lookup(TARGETS, "live", "target")(cutmix=options.cutmix)
    return Preset(_objectives(options, published="logits"), target, Shuffle())


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse what a label store does not hold.

    Raises:
        UsageError: the discriminator was to see logits.
    """
    if options.discriminator is not None and options.discriminator.scores == "logits":
        raise UsageError(
            f"{at}.options.discriminator.scores: logits found, but a label store holds probabilities; set it "
            "to probabilities, or remove labels to learn from live teachers"
        )


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store, which holds the teachers' mean probabilities."""
    from compactor.methods.from_store import require_views
    from compactor.samplers.crop_major import CropMajor

    views = options.crops_per_image
    require_views(stored.stage, views, stored.part.views)
    return Preset(
        _objectives(options, published="probabilities"),
        stored.labels(views=views, mixing="cutmix" if options.cutmix else "none"),
        CropMajor(views, stored.stage.batch_size, stored.stage.epochs),
    )


def _objectives(options: Options, *, published: Literal["logits", "probabilities"]) -> list[Weighted]:
    from compactor.objectives.divergences import SoftCrossEntropy
    from compactor.objectives.hard_ce import HardCrossEntropy

    objectives: list[Weighted] = [(SoftCrossEntropy(), 1.0)]
    if options.discriminator is not None:
        objectives.append((_adversary(options.discriminator, published), options.discriminator.weight))
    if options.hard_weight:
        objectives.append((HardCrossEntropy(), options.hard_weight))
    return objectives


def _adversary(options: DiscriminatorOptions, published: Literal["logits", "probabilities"]) -> "Adversary":
    from compactor.objectives.discriminator import Adversary

    return Adversary(
        reduction=options.reduction,
        last_relu=options.last_relu,
        student=options.student,
        scores=published if options.scores == "published" else options.scores,
        lr=None if options.lr == "student" else options.lr,
    )


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy to the mean of several teachers' softmaxes, and a discriminator",
        labels="for a share of the loss",
        cost="the teachers' forward, or none from a store; a small discriminator",
        source="Shen and Savvides, arXiv 2009.08453",
    ),
    targets=("live", "stored"),
)
