"""What `method: kd` compares by, beside plain divergences: options of these losses, and their objectives."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from compactor.trainer.contracts import Objective, Weighted

Weight = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Divergence = Literal["kl", "soft_ce", "sym_kl", "js", "dkd", "dist", "skd", "wsl"]


class DkdOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of DKD: alpha * (label against all others) + beta * (the others among themselves)."""

    alpha: Weight = 1.0
    beta: Weight = 8.0

    def __post_init__(self) -> None:
        """Check that something is learned.

        Raises:
            ValueError: both are 0.
        """
        if self.alpha == self.beta == 0:
            raise ValueError("alpha and beta are both 0, expected one above 0")


class DistOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of DIST: beta * (classes of a sample) + gamma * (samples of a class)."""

    beta: Weight = 1.0
    gamma: Weight = 1.0

    def __post_init__(self) -> None:
        """Check that something is learned.

        Raises:
            ValueError: both are 0.
        """
        if self.beta == self.gamma == 0:
            raise ValueError("beta and gamma are both 0, expected one above 0")


class SkdOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The standard deviation over classes that SKD scales the centred logits of both sides to."""

    scale: Positive = 2.0


class HintOptions(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="loss", tag="hint"
):
    """Mean squared difference of a learned linear map of the student's feature and the teacher's.

    `teacher` names the teacher's feature where it is another.
    """

    name: str
    teacher: str | None = None
    weight: Positive = 1.0


class AttentionOptions(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="loss", tag="attention"
):
    """Mean squared difference of normalised attention maps, which is small: the authors' weight is 1000."""

    name: str
    teacher: str | None = None
    weight: Positive = 1000.0


class RkdOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="loss", tag="rkd"):
    """Huber losses of the relations within a batch: distances between two samples, angles among three."""

    name: str = "penultimate"
    teacher: str | None = None
    distance: Weight = 1.0
    angle: Weight = 2.0

    def __post_init__(self) -> None:
        """Check that something is learned.

        Raises:
            ValueError: both are 0.
        """
        if self.distance == self.angle == 0:
            raise ValueError("distance and angle are both 0, expected one above 0")


FeatureOptions = HintOptions | AttentionOptions | RkdOptions


def feature_objectives(options: FeatureOptions) -> "list[Weighted]":
    """The objectives of one entry of `features`, with their weights; those of weight 0 are left out."""
    from compactor.objectives.feature_match import Attention, Hint
    from compactor.objectives.relations import Angles, Distances

    names = (options.name, options.teacher)
    match options:
        case HintOptions():
            return [(Hint(*names), options.weight)]
        case AttentionOptions():
            return [(Attention(*names), options.weight)]
    both: list[Weighted] = [(Distances(*names), options.distance), (Angles(*names), options.angle)]
    return [pair for pair in both if pair[1]]


def soft_objectives(
    divergence: Divergence, temperature: float, *, dkd: DkdOptions, dist: DistOptions, skd: SkdOptions
) -> "list[tuple[Objective, float]]":
    """The objectives that one divergence is made of, with their weights; those of weight 0 are left out."""
    from compactor.objectives.correlation import BetweenClasses, WithinClass
    from compactor.objectives.divergences import DIVERGENCES
    from compactor.objectives.spherical import Spherical
    from compactor.objectives.with_label import OtherClasses, TargetClass, WeightedSoftLabels

    found: list[tuple[Objective, float]]
    match divergence:
        case "dkd":
            found = [(TargetClass(temperature), dkd.alpha), (OtherClasses(temperature), dkd.beta)]
        case "dist":
            found = [
                (BetweenClasses(temperature=temperature), dist.beta),
                (WithinClass(temperature=temperature), dist.gamma),
            ]
        case "skd":
            found = [(Spherical(temperature, scale=skd.scale), 1.0)]
        case "wsl":
            found = [(WeightedSoftLabels(temperature), 1.0)]
        case _:
            found = [(DIVERGENCES[divergence](temperature=temperature), 1.0)]
    return [pair for pair in found if pair[1]]
