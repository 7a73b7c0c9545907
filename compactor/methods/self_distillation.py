"""`method: self_distillation`: the same network again, towards labels and its predecessor's answers.

Borup, Andersen, "Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization Imposed by
Self-Distillation" (NeurIPS 2021, arXiv 2102.13088). A chain is a recipe's stages: each names the one before
as its teacher.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.recipe.spec import ModelSpec

Place = Annotated[int, Meta(ge=0)]


class Roles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Places in the stage's list of teachers, counted from 0; one teacher may have two roles.

    `previous` is the network that makes the targets. `pure` learned from it alone (alpha 0), `ground` from
    the labels alone; both choose alpha and teach nothing.
    """

    previous: Place = 0
    pure: Place
    ground: Place


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    target = alpha * onehot(label) + (1 - alpha) * the previous network's probabilities. `alpha: auto` chooses
    it on select in closed form, from the teachers that `roles` names. `loss`: `mse` of probabilities (the
    authors'), `soft_ce` or `kl`.
    """

    alpha: Annotated[float, Meta(ge=0, lt=1)] | Literal["auto"]
    loss: Literal["mse", "soft_ce", "kl"] = "mse"
    roles: Roles | None = None

    def __post_init__(self) -> None:
        """Check that roles are given where they have an effect.

        Raises:
            ValueError: they are missing, have no effect, or contradict each other.
        """
        if self.alpha == "auto" and self.roles is None:
            raise ValueError(
                "alpha auto is chosen from a purely distilled and a ground-truth network; say which of the "
                "teachers they are: roles: {previous: 0, pure: 1, ground: 2}"
            )
        if self.alpha != "auto" and self.roles is not None:
            raise ValueError(f"roles have no effect with alpha {self.alpha}; remove them, or set alpha: auto")
        if self.roles is not None and self.roles.pure in (self.roles.previous, self.roles.ground):
            raise ValueError(
                f"roles: pure is place {self.roles.pure}, which has another role too, but it has to be a "
                "network of its own, which learned from the previous one with alpha 0"
            )


def build(options: Options) -> Preset:
    """Make the preset: the previous network alone teaches."""
    from compactor.objectives.divergences import Kl, SoftCrossEntropy
    from compactor.objectives.probability_mse import ProbabilityMse
    from compactor.samplers.shuffle import Shuffle
    from compactor.targets.with_truth import MixedWithTruth

    if options.roles is None:
        assert options.alpha != "auto"
        target = MixedWithTruth(options.alpha)
    else:
        target = MixedWithTruth(None, pure=options.roles.pure, ground=options.roles.ground)
    losses = {one.name: one for one in (ProbabilityMse, SoftCrossEntropy, Kl)}
    loss = losses[options.loss]()
    return Preset([(loss, 1.0)], target, Shuffle(), taught_by=taught_by(options))


def taught_by(options: Options) -> tuple[int, ...]:
    """The place of the previous network."""
    return (0 if options.roles is None else options.roles.previous,)


def check_teachers(options: Options, teachers: "Sequence[ModelSpec | str]", at: str) -> None:
    """Check that every teacher has a role, and every role a teacher.

    Raises:
        UsageError: one of them has none.
    """
    roles = options.roles
    places = {0} if roles is None else {roles.previous, roles.pure, roles.ground}
    if max(places) >= len(teachers):
        raise UsageError(
            f"{at}.options.roles: place {max(places)} found, but the stage has {len(teachers)} teachers, "
            "counted from 0; name the teacher, or correct the place"
        )
    if idle := sorted(set(range(len(teachers))) - places):
        what = "" if roles is not None else "; alpha: auto would choose alpha from a pure and a ground one"
        raise UsageError(
            f"{at}.teachers: {teachers[idle[0]]!r} has no role, one network before teaches alone; remove "
            f"it{what}"
        )


METHOD = Method(
    options=Options,
    build=build,
    check_teachers=check_teachers,
    taught_by=taught_by,
    learns_from_teachers=True,
    about=About(
        does="the same network again, towards a mix of labels and its predecessor's answers",
        labels="for a share of the loss",
        cost="the previous network's forward, and the training of each network of the chain",
        source="Borup and Andersen, arXiv 2102.13088",
    ),
    targets=("with_truth",),
)
