"""`method: ssld`: follow the teacher on labelled and unlabelled images alike; no label enters.

Cui et al., "Beyond Self-Supervision: A Simple Yet Effective Network Distillation Alternative to Improve
Backbones" (arXiv 2103.05959), as its authors' code trains it (PaddleClas):

1. Student and teacher see the same view. The loss is 1/2 (KL(q || p) + KL(p || q)) at temperature 1, teacher
   q, student p, sum over classes, mean over the batch. (The authors call it JS; it is half the Jeffreys
   divergence. Their later recipes use soft cross-entropy.)
2. The teacher's BatchNorm layers normalise by the batch at hand. Its running statistics, which the authors'
   code lets drift, stay as they are here, so that the teacher can be judged at any time.
3. Stage 1 trains on the labelled images and the pool (`data.also`) in one shuffle, stage 2 goes on with the
   labelled images alone at a hundredth of the learning rate: two stages of a recipe.
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
    from compactor.recipe.spec import LabelsSpec, StageSpec
    from compactor.trainer.contracts import TargetPolicy


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = divergence(teacher, student) + hard_weight * loss(labels), at temperature 1. `divergence`: SSLD's
    `sym_kl`, or `soft_ce` (its later recipes), `js`, `kl`. `teacher_bn`: `batch` normalises by the batch, as
    published; `eval` by the running statistics; absent = `batch` of live teachers, and what a label store was
    made with, `eval`. `hard_weight` is 0; SKL-UGI's recipes of several labels an image have 1.
    """

    divergence: Literal["sym_kl", "soft_ce", "js", "kl"] = "sym_kl"
    teacher_bn: Literal["batch", "eval"] | None = None
    hard_weight: Annotated[float, Meta(ge=0)] = 0.0


def build(options: Options) -> Preset:
    """Make the preset for live teachers."""
    return _preset(options, lookup(TARGETS, "live", "target")(), options.teacher_bn or "batch")


def check_stored(options: Options, labels: "LabelsSpec", at: str) -> None:
    """Refuse what a label store does not hold.

    Raises:
        UsageError: statistics of a batch, of which a store has none, or the loss of such labels is infinite.
    """
    if options.teacher_bn == "batch":
        raise UsageError(
            f"{at}.options.teacher_bn: batch found, but a store's labels are made with the teacher's running "
            "statistics; remove the option, or remove labels to learn from live teachers"
        )
    require_finite(options.divergence, labels, at)


def build_stored(options: Options, stored: "Stored") -> Preset:
    """Make the preset for a label store."""
    return _preset(options, stored.labels(), "eval")


def told(options: Options, stage: "StageSpec") -> list[str]:
    """What the statistics of the teacher's BatchNorm are."""
    if stage.labels is not None:
        return ["teacher_bn is eval: its labels come from a store, made with running statistics"]
    if options.teacher_bn == "eval":
        return []
    return [
        "teacher_bn is batch: the teacher's BatchNorm normalises by each batch (of several processes by the "
        "process's own part), its running statistics stay as they are"
    ]


def _preset(options: Options, target: "TargetPolicy", teacher_bn: Literal["batch", "eval"]) -> Preset:
    """Without a hard share labels are never read."""
    from compactor.objectives.divergences import DIVERGENCES
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    objectives: list[Weighted] = [(DIVERGENCES[options.divergence](), 1.0)]
    if options.hard_weight:
        objectives.append((HardCrossEntropy(), options.hard_weight))
    return Preset(objectives, target, Shuffle(), teacher_bn=teacher_bn)


METHOD = Method(
    options=Options,
    build=build,
    build_stored=build_stored,
    check_stored=check_stored,
    told=told,
    learns_from_teachers=True,
    about=About(
        does="symmetric KL to the teacher on labelled and unlabelled images, its BatchNorm by the batch",
        labels="not read",
        cost="the teachers' forward, or none from a store",
        source="Cui et al., arXiv 2103.05959",
    ),
    targets=("live", "stored"),
    activations=CLASSES_OR_LABELS,
)
