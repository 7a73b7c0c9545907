"""`method: lelp`: learn subclasses that a teacher's features tell apart and its few classes do not.

"Linear Projections of Teacher Embeddings for Few-Class Distillation" (arXiv 2409.20449). The student has S
outputs a class (`subclasses: S` in its entry), which are folded into the class's logit in what is exported.
"""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset

if TYPE_CHECKING:
    from compactor.recipe.spec import StageSpec


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * cross-entropy(subclasses) + (1 - soft_weight) * cross-entropy(labels).
    `temperature` is that of the teacher's probabilities. `beta` divides the scores of subclasses before their
    softmax; absent = their standard deviation over the training samples. `null_space` takes what the
    teacher's logits say already out of its features. `rotation_seed` draws the rotation of the scores.
    """

    temperature: Annotated[float, Meta(gt=0)] = 1.0
    beta: Annotated[float, Meta(gt=0)] | None = None
    null_space: bool = True
    soft_weight: Annotated[float, Meta(gt=0, le=1)] = 1.0
    rotation_seed: Annotated[int, Meta(ge=0)] = 0


def build(options: Options) -> Preset:
    """Make the preset; without a hard share labels only say which class a sample belongs to."""
    from compactor.objectives.hard_ce import share_of_labels
    from compactor.objectives.subclass_ce import SubclassCrossEntropy
    from compactor.samplers.shuffle import Shuffle
    from compactor.targets.subclasses import SubclassTargets

    targets = SubclassTargets(
        temperature=options.temperature,
        beta=options.beta,
        null_space=options.null_space,
        seed=options.rotation_seed,
    )
    soft = SubclassCrossEntropy(targets)
    objectives = [(soft, options.soft_weight), *share_of_labels(options.soft_weight)]
    return Preset(objectives, targets, Shuffle())


def told(options: Options, stage: "StageSpec") -> list[str]:
    """Whose features make the subclasses."""
    if stage.teachers is None or len(stage.teachers) < 2:
        return []
    return ["subclasses are those of the first teacher's features, probabilities the mean of all teachers"]


METHOD = Method(
    options=Options,
    build=build,
    told=told,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy to subclasses, made of the teacher's probabilities and its penultimate features",
        labels="for a share of the loss",
        cost="the teacher's forward, and one pass over the training samples before",
        source="arXiv 2409.20449",
    ),
    targets=("subclasses",),
    trains_subclasses=True,
)
