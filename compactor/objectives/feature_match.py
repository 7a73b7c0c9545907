"""Inner tensors of the student pulled towards the first teacher's: hints, attention maps, relations.

Every one names a feature of both (`Student.features`) and needs a live teacher. Maps [B, C, H, W] of
different sizes are compared at the smaller one's, the larger averaged.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.student import Student
from compactor.records import MASK, STATES, Batch, Needs, Outputs, Step, Target, Term
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

OPTION = "options.features"
KINDS = {
    "vector": "one vector a sample",
    "tokens": "a vector for each token",
    "map": "a map of channels",
}


class FeatureObjective:
    """What these share: one feature of each side, of a kind that the formula is made for."""

    kinds: ClassVar[tuple[str, ...]] = ("vector", "map")
    lr: float | None = None
    as_student = False

    def __init__(self, name: str, teacher: str | None = None) -> None:
        """Name the student's feature, and the teacher's where it is another."""
        self.ours, self.theirs = name, teacher or name
        self.needs = Needs(frozenset({self.ours}), frozenset({self.theirs}), option=OPTION)

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Check that both are of the same kind; a sub-class may make a map from one to the other.

        Raises:
            UsageError: they are not, or this loss is not defined for that kind.
        """
        ours, theirs = _feature(student, self.ours), _feature(teachers[0], self.theirs)
        kinds = [_kind(self.ours, ours), _kind(self.theirs, theirs)]
        if kinds[0] != kinds[1] or kinds[0] not in self.kinds:
            raise UsageError(
                f"{OPTION}: the student's {self.ours!r} is {KINDS[kinds[0]]}, the teacher's "
                f"{self.theirs!r} {KINDS[kinds[1]]}; expected of both "
                f"{' or '.join(KINDS[kind] for kind in self.kinds)}; name another feature or another loss"
            )
        return self.projector(ours, theirs)

    def projector(self, ours: Feature, theirs: Feature) -> nn.Module | None:
        """Make the train-only map from the student's feature to the teacher's; here none."""
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""

    def pair(self, student: Outputs, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
        """Both features, as they were captured."""
        assert teacher is not None
        return student.features[self.ours], teacher.features[self.theirs]


class Hint(FeatureObjective):
    """FitNets' hint: mean squared difference of r(student) and teacher, r linear and trained along.

    Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets" (arXiv 1412.6550),
    as a part of the loss rather than a stage before it. r is a 1x1 convolution of maps, a linear
    layer of vectors, both without bias; it serves training alone. The mean is over all elements, so the loss
    does not grow with the size of the feature.
    """

    kinds = ("vector", "tokens", "map")
    regressor: nn.Module

    def projector(self, ours: Feature, theirs: Feature) -> nn.Module:
        """Make r."""
        if ours.is_map:
            self.regressor = nn.Conv2d(ours.width, theirs.width, 1, bias=False)
        else:
            self.regressor = nn.Linear(ours.width, theirs.width, bias=False)
        return self.regressor

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {hint_NAME: [B]}, or [B, L] of tokens, valid at those that are no padding."""
        ours, theirs = self.pair(student, teacher)
        ours, theirs = of_one_size(self.regressor(ours).float(), theirs.float())
        squared = (ours - theirs).square()
        if squared.dim() == 3:
            return {f"hint_{self.ours}": Term(squared.mean(-1), batch.x[MASK] == 1)}
        return {f"hint_{self.ours}": Term(squared.flatten(1).mean(-1))}


class Attention(FeatureObjective):
    """Attention transfer: mean squared difference of normalised attention maps; no map of channels is needed.

    Zagoruyko, Komodakis, "Paying More Attention to Attention" (arXiv 1612.03928). A sample's attention is the
    sum of squares over channels, as a vector of positions of length 1. Its equation 2 has the length of the
    difference, the authors' code the mean of its squares over positions; this is the code's, for which their
    weight of 1000 is.
    """

    kinds = ("map",)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {attention_NAME: [B]}."""
        pair = of_one_size(*(one.float() for one in self.pair(student, teacher)))
        ours, theirs = (F.normalize(one.square().sum(1).flatten(1), dim=-1) for one in pair)
        return {f"attention_{self.ours}": Term((ours - theirs).square().mean(-1))}


def of_one_size(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [B, C, H, W] at the smaller height and width of both; others as they are."""
    if ours.dim() != 4 or ours.shape[2:] == theirs.shape[2:]:
        return ours, theirs
    size = (min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3]))
    return F.adaptive_avg_pool2d(ours, size), F.adaptive_avg_pool2d(theirs, size)


def _feature(model: nn.Module, name: str) -> Feature:
    assert isinstance(model, Student)
    return model.features[name]


def _kind(name: str, feature: Feature) -> str:
    if feature.is_map:
        return "map"
    return "tokens" if name == STATES else "vector"
