"""ND by hand, the class means that it points to, and what does not count."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.student import Student
from compactor.objectives.norm_direction import NormAndDirection, norm_and_direction
from compactor.objectives.train_only import PartNorm
from compactor.records import IGNORE, PENULTIMATE, Batch, Outputs, Step, Target
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys

AT = Step(0, 1, 0, 1)


class Wide(Student):
    """A model whose penultimate feature has this width; nothing else of it is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def features(self) -> dict[str, Feature]:
        return {PENULTIMATE: Feature("backbone.head", self.width, "input")}


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values)


def seen(*values: list[float]) -> Outputs:
    return Outputs({}, features={PENULTIMATE: rows(*values)})


def batch(*labels: int) -> Batch:
    return Batch({}, {"label": torch.tensor(labels)}, torch.arange(len(labels)))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        # e = [0, 1, 1] / sqrt 2, f.e = 4 / sqrt 2, |f| = 3 < |t| = 5
        ([1.0, 2, 2], [0.0, 3, 4], 0.434315),
        # f.e = 11 / sqrt 2, |f| = 9 > |t| = 5
        ([4.0, 4, 7], [0.0, 3, 4], 0.135758),
    ],
)
def test_golden(ours: list[float], theirs: list[float], expected: float) -> None:
    objective = NormAndDirection()
    objective.directions = rows([0, 0, 0], [0, 1, 1]) / 2**0.5
    (term,) = objective(seen(ours), seen(theirs), Target(), batch(1), AT).values()
    assert term.loss.tolist() == pytest.approx([expected], abs=1e-6)


def test_beyond_the_teachers_norm_length_has_no_effect_and_below_it_draws_out() -> None:
    towards, theirs = rows([0.0, 1.0]), rows([0.0, 5.0])
    long, longer, short, shorter = (
        norm_and_direction(scale * rows([3.0, 4.0]), theirs, towards) for scale in (2.0, 3.0, 0.8, 0.4)
    )
    assert long.item() == pytest.approx(longer.item()) == pytest.approx(1 - 4 / 5)
    assert short < shorter
    nothing = rows([0.0, 0.0]).requires_grad_()
    norm_and_direction(nothing, rows([0.0, 0.0]), towards).sum().backward()
    assert nothing.grad is not None
    assert nothing.grad.isfinite().all()


def test_gradient() -> None:
    """On both sides of the teacher's norm."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs, towards = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    ours[:3] *= 5
    towards = towards / towards.norm(dim=-1, keepdim=True)
    assert torch.autograd.gradcheck(norm_and_direction, (ours.requires_grad_(), theirs, towards))


def fitted(labels: list[list[int]]) -> tuple[NormAndDirection, Teachers, list[Batch]]:
    split = toys.split(12)
    pixels = torch.from_numpy(split.inputs).permute(0, 3, 1, 2).float() / 255
    parts = [
        Batch({"pixel_values": pixels[6 * k : 6 * k + 6]}, {"label": torch.tensor(one)}, torch.arange(6))
        for k, one in enumerate(labels)
    ]
    teachers = Teachers([toys.classifier(seed=8, dropout=0.5)])
    objective = NormAndDirection()
    objective.fit(teachers, iter(parts))
    return objective, teachers, parts


def test_means_are_the_teachers_by_true_label_without_dropout() -> None:
    labels = [[0, 1, 0, IGNORE, 1, 0], [1, 1, 0, 0, IGNORE, 1]]
    objective, teachers, parts = fitted(labels)
    body = teachers.models[0].backbone.body
    features = torch.cat([body((part.x["pixel_values"] - 0.5) / 0.5) for part in parts])
    flat = torch.tensor(labels).flatten()
    for label in (0, 1):
        mean = features[flat == label].mean(0)
        torch.testing.assert_close(objective.directions[label], mean / mean.norm())
    assert objective.directions[2].tolist() == [0] * 16  # a class without a labelled sample


def test_what_has_no_label_or_no_direction_does_not_count() -> None:
    objective, _, _ = fitted([[0, 1, 0, 1, 1, 0], [0] * 6])
    said = Outputs({}, features={PENULTIMATE: torch.rand(3, 16)})
    term = objective(said, said, Target(), batch(0, IGNORE, 2), AT)["nd"]
    assert term.valid is not None
    assert term.valid.tolist() == [True, False, False]
    assert term.loss.isfinite().all()


def test_without_any_label_it_is_refused() -> None:
    with pytest.raises(UsageError, match="method nd: no training sample has a label"):
        fitted([[IGNORE] * 6, [IGNORE] * 6])


def test_a_projector_stands_between_other_widths() -> None:
    objective = NormAndDirection()
    assert objective.setup(Wide(3), [Wide(3)]) is None
    made = objective.setup(Wide(2), [Wide(3)])
    assert isinstance(made, nn.Sequential)
    norm, dropout, linear = made
    assert isinstance(norm, PartNorm)
    assert isinstance(dropout, nn.Dropout)
    assert isinstance(linear, nn.Linear)
    assert (dropout.p, linear.in_features, linear.out_features) == (0.5, 2, 3)
    objective.directions = rows([0.0, 1.0, 0.0])
    student = seen([1.0, 2.0], [3.0, -1.0])
    torch.manual_seed(0)
    (term,) = objective(student, seen([1.0, 1, 1], [1.0, 1, 1]), Target(), batch(0, 0), AT).values()
    torch.manual_seed(0)
    by_hand = made(student.features[PENULTIMATE])
    length = by_hand.norm(dim=-1).clamp(min=3**0.5)
    torch.testing.assert_close(term.loss, 1 - by_hand[:, 1] / length)


def singles() -> Iterator[Tensor]:
    yield from torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(1))


def test_one_row_is_normalised_by_the_running_statistics() -> None:
    """What plain BatchNorm refuses; it changes them as little as an evaluation does."""
    ours, plain = PartNorm(3), nn.BatchNorm1d(3)
    many = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(many), plain(many))
    before = ours.running_mean.clone()
    plain.eval()
    for row in singles():
        torch.testing.assert_close(ours(row), plain(row))
    assert torch.equal(ours.running_mean, before)
    assert ours(many[:0]).shape == (0, 3)
