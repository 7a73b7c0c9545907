"""`method: encoder`: one hop of encoder compression, from a teacher to a smaller encoder.

FitzGerald et al., "Alexa Teacher Model" (arXiv 2206.07808): on `task: masked-lm` the sum of the cross-entropy
to the hidden tokens and of the soft cross-entropy to the teacher's guesses. Temperature, weights and whether
hidden states were matched are not known of the paper; they are options here. On a task with labels the same
sum distils its logits, those of words at each word's first token.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, Weighted
from compactor_runtimes.tables import lookup

Weight = Annotated[float, Meta(ge=0)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = hard_weight * cross-entropy(hidden tokens, or labels) + soft_weight * divergence(teacher, student;
    temperature) * temperature^2 + hidden_weight * distance of the last hidden states. Where widths differ,
    hidden states are compared through a linear map without bias that is trained with the student and thrown
    away. `head_weights` multiply the losses of single heads.

    Which positions are compared on masked-lm is the stage's `masking.positions`.
    """

    hard_weight: Weight = 1.0
    soft_weight: Weight = 1.0
    divergence: Literal["soft_ce", "kl", "sym_kl", "js"] = "soft_ce"
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    hidden_weight: Weight = 0.0
    hidden_distance: Literal["mse", "cosine"] = "mse"
    head_weights: dict[str, Weight] = {}

    def __post_init__(self) -> None:
        """Check that something is learned from the teacher.

        Raises:
            ValueError: only the hard part has a weight.
        """
        if self.soft_weight == self.hidden_weight == 0:
            raise ValueError(
                "soft_weight and hidden_weight are both 0, so nothing is learned from the teacher; use "
                "method supervised"
            )


def build(options: Options) -> Preset:
    """Make the preset; a term of weight 0 is left out."""
    from compactor.objectives.divergences import DIVERGENCES
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.hidden import HiddenMatch
    from compactor.samplers.shuffle import Shuffle

    divergence = DIVERGENCES[options.divergence](temperature=options.temperature)
    square = 1.0 if divergence.scaled else options.temperature**2  # the others multiply by it themselves
    weighted: list[Weighted] = [
        (HardCrossEntropy(), options.hard_weight),
        (divergence, square * options.soft_weight),
        (HiddenMatch(options.hidden_distance), options.hidden_weight),
    ]
    target = lookup(TARGETS, "live", "target")()
    return Preset([pair for pair in weighted if pair[1]], target, Shuffle(), options.head_weights)


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=True,
    about=About(
        does="one hop of encoder compression: hidden tokens, the teacher's answers, its hidden states",
        labels="for a share of the loss",
        cost="the teachers' forward",
        source="FitzGerald et al., arXiv 2206.07808",
    ),
    targets=("live",),
)
