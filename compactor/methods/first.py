"""`method: first`: follow a teacher's k largest classes after its probabilities are recalibrated on select.

FIRST, "Teach A Reliable Large Language Model Through Efficient Trustworthy Distillation" (arXiv 2408.12168),
for classes of any kind: the teacher's top-k probabilities P are recalibrated to
P'_i = exp(P_i / c) / sum_j exp(P_j / c), c chosen on held-out samples by the expected calibration error, and
the student learns KL(P' || S) among the k classes. This is the paper's rule; the released script concatenates
raw masses instead and is not followed.
"""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.recipe.spec import LabelsSpec, StageSpec
    from compactor.trainer.contracts import TargetPolicy

READABLE = ("marginal-smoothing", "full")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * KL(P' || S) + (1 - soft_weight) * cross-entropy(labels). `k` classes of each sample
    count. `c` in (0, 1] sharpens the more the smaller it is; absent = chosen on select.
    """

    k: Annotated[int, Meta(ge=2)] = 5
    c: Annotated[float, Meta(gt=0, le=1)] | None = None
    soft_weight: Annotated[float, Meta(gt=0, le=1)] = 1.0


def build(options: Options) -> Preset:
    """Make the preset for live teachers, of whose mean probabilities the k largest are taken."""
    from compactor.targets.recalibrated import Recalibrated

    return _preset(options, Recalibrated.from_teachers(k=options.k, c=options.c))


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse a label store that keeps no k probabilities, or nothing to choose c on.

    Raises:
        UsageError: says what it keeps.
    """
    if labels.quantization not in READABLE:
        raise UsageError(
            f"{at}.labels.quantization: {labels.quantization} found, but method first recalibrates the "
            f"probabilities of {options.k} classes as the teacher gave them; use {' or '.join(READABLE)}"
        )
    if labels.quantization != "full" and labels.k < options.k:
        raise UsageError(
            f"{at}.options.k: {options.k} found, but labels.k keeps {labels.k} classes of each sample; raise "
            "labels.k, or lower options.k"
        )
    if options.c is None and labels.store is None and not labels.evaluation:
        raise UsageError(
            f"{at}.options.c: absent, but with labels.evaluation: false the store has no answers on "
            "select to choose it by; give c, such as 0.3, or remove labels.evaluation"
        )


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store; what its select part holds chooses c."""
    return _preset(options, stored.recalibrated(k=options.k, c=options.c))


def told(options: Options, stage: "StageSpec") -> list[str]:
    """How c comes about."""
    return ["c is chosen on select, before training"] if options.c is None else []


def _preset(options: Options, target: "TargetPolicy") -> Preset:
    """Without a hard share labels of train are never read."""
    from compactor.objectives.hard_ce import share_of_labels
    from compactor.objectives.top_k_kl import TopKKl
    from compactor.samplers.shuffle import Shuffle

    objectives = [(TopKKl(), options.soft_weight), *share_of_labels(options.soft_weight)]
    return Preset(objectives, target, Shuffle())


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    told=told,
    learns_from_teachers=True,
    about=About(
        does="KL to the teacher's k largest classes, recalibrated on select",
        labels="for a share of the loss",
        cost="the teachers' forward, or none from a store",
        source="FIRST, arXiv 2408.12168",
    ),
    targets=("recalibrated",),
)
