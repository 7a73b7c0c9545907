"""`method: embedding`: the student's vectors learn to point where the teachers' point; no labels are read."""

from typing import Annotated

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset, Weighted

Weight = Annotated[float, Meta(ge=0)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cosine_weight * (1 - cos(student, teacher)) + similarity_weight * (mean squared difference of the
    cosine similarities within a batch). If the dimensions differ, the first needs a linear map that is
    trained with the student and thrown away; the second needs none.
    """

    cosine_weight: Weight = 1.0
    similarity_weight: Weight = 0.0

    def __post_init__(self) -> None:
        """Check that something is learned.

        Raises:
            ValueError: both weights are 0.
        """
        if self.cosine_weight == self.similarity_weight == 0:
            raise ValueError("cosine_weight and similarity_weight are both 0, expected one above 0")


def build(options: Options) -> Preset:
    """Make the preset; a term of weight 0 is left out."""
    from compactor.objectives.embedding import Cosine, Similarity
    from compactor.samplers.shuffle import Shuffle
    from compactor.trainer.contracts import TargetPolicy

    weighted: list[Weighted] = [(Cosine(), options.cosine_weight), (Similarity(), options.similarity_weight)]
    return Preset([pair for pair in weighted if pair[1]], TargetPolicy(), Shuffle())


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=True,
    about=About(
        does="cosine to the teachers' vectors, and the similarities within a batch",
        labels="not read",
        cost="the teachers' forward",
    ),
    activations=frozenset({"none"}),
)
