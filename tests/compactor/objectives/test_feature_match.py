"""Hints, attention, relations: values by hand and as another tool has them, gradients, what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compactor.models.features import Feature
from compactor.models.student import Student
from compactor.objectives.feature_match import Attention, FeatureObjective, Hint, of_one_size
from compactor.objectives.relations import Angles, Distances
from compactor.records import MASK, STATES, Batch, Outputs, Target
from compactor_runtimes.errors import UsageError
from tests.compactor.objectives.formulas import AT, gradient, huber, numeric_gradient, of_feature, wave

MAPS = (wave(4, 3, 4, 4, a=1.3, b=0.2), wave(4, 6, 4, 4, a=0.9, b=0.7))
VECTORS = (wave(5, 3, a=1.1, b=0.4), wave(5, 7, a=0.6, b=0.9))


class Has(Student):
    """A model with one feature; nothing else of it is read."""

    def __init__(self, width: int, name: str = "f", *, is_map: bool = False) -> None:
        super().__init__()
        self.found = {name: Feature("backbone.x", width, is_map=is_map)}

    @property
    def features(self) -> dict[str, Feature]:
        return self.found


def mapped(width: int, other: int, *, is_map: bool) -> Hint:
    """A hint with weights sin(0.5 k + 0.1)."""
    hint = Hint("f")
    made = hint.setup(Has(width, is_map=is_map), [Has(other, is_map=is_map)])
    assert isinstance(made, nn.Conv2d if is_map else nn.Linear)
    assert made.bias is None
    with torch.no_grad():
        made.weight.copy_(wave(*made.weight.shape, a=0.5, b=0.1))
    return hint


def test_hint_of_maps_by_hand_and_as_torchdistill_computes_it() -> None:
    """MSELoss in its SimpleLossWrapper (1.1.5), of the student's map after the same 1x1 convolution."""
    ours, theirs = (one.numpy() for one in MAPS)
    weight = wave(6, 3, a=0.5, b=0.1).numpy()
    expected = []
    for s, t in zip(ours, theirs, strict=True):
        gaps = [
            sum(weight[c, d] * s[d, i, j] for d in range(3)) - t[c, i, j]
            for c in range(6)
            for i in range(4)
            for j in range(4)
        ]
        expected.append(np.mean(np.square(gaps)))
    found = of_feature(mapped(3, 6, is_map=True), *(one.float() for one in MAPS))
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=1e-5, rtol=1e-5)
    assert found.mean().item() == pytest.approx(5.495458040183428, rel=1e-5)


def test_hint_of_vectors_and_of_tokens() -> None:
    """Padding does not count."""
    s, t = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    hint = Hint("f")
    made = hint.setup(Has(2), [Has(3)])
    assert isinstance(made, nn.Linear)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert of_feature(hint, s, t).item() == pytest.approx(5 / 3)  # W s = [1, 2, 3]
    tokens = Hint(STATES)
    tokens.setup(Has(2, STATES), [Has(3, STATES)])
    tokens.regressor = made
    batch = Batch({MASK: torch.tensor([[1, 0]])}, {}, torch.arange(1))
    sides = (Outputs({}, features={STATES: torch.stack([one, one], 1)}) for one in (s, t))
    term = tokens(*sides, Target(), batch, AT)[f"hint_{STATES}"]
    assert term.valid is not None
    assert term.valid.tolist() == [[True, False]]
    torch.testing.assert_close(term.loss, torch.full((1, 2), 5 / 3))


def attention(one: Any) -> Any:
    """Positions' sums of squares over channels, as a vector of length 1."""
    sums = np.array([sum(one[c, i, j] ** 2 for c in range(len(one))) for i in range(4) for j in range(4)])
    return sums / np.sqrt(np.sum(sums**2))


def test_attention_by_hand_and_as_torchdistill_computes_it() -> None:
    """ATLoss of torchdistill 1.1.5, mode "code"; its mode "paper" has the length of the same difference."""
    gaps = [attention(s) - attention(t) for s, t in zip(*(one.numpy() for one in MAPS), strict=True)]
    found = of_feature(Attention("f"), *MAPS)
    torch.testing.assert_close(
        found, torch.tensor([np.mean(gap**2) for gap in gaps]).float(), atol=1e-7, rtol=1e-5
    )
    assert found.mean().item() == pytest.approx(0.0016164450894668695, rel=1e-4)
    paper = np.mean([np.sqrt(np.sum(gap**2)) for gap in gaps])
    assert paper == pytest.approx(0.16076636613347112, rel=1e-6)


def test_attention_does_not_see_scale_or_order_of_channels() -> None:
    moved = 3.0 * MAPS[0].flip(1)
    torch.testing.assert_close(of_feature(Attention("f"), moved, MAPS[0]), torch.zeros(4), atol=1e-10, rtol=0)


def test_maps_of_two_sizes_are_compared_at_the_smaller() -> None:
    large = wave(2, 3, 8, 8, a=0.7, b=0.2)
    small = large.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    for pair in ((large, small), (small, large)):
        found = of_one_size(*pair)
        torch.testing.assert_close(found[0], found[1])
        assert found[0].shape == (2, 3, 4, 4)


def distances(features: Any) -> Any:
    n = len(features)
    found = np.array([[np.sqrt(np.sum((a - b) ** 2)) for b in features] for a in features])
    return found / (found.sum() / (n * (n - 1)))


def angles(features: Any) -> Any:
    """By the vectors themselves; 0 where two of the three are one."""
    n = len(features)
    found = np.zeros((n, n, n))
    for j, i, k in np.ndindex(n, n, n):
        one, other = features[i] - features[j], features[k] - features[j]
        if i != j != k:
            found[j, i, k] = one @ other / np.sqrt((one @ one) * (other @ other))
    return found


@pytest.mark.parametrize(
    ("kind", "formula", "torchdistill"),
    [(Distances, distances, 0.2993201424707395), (Angles, angles, 0.13680554847796872)],
)
def test_relations_by_hand_and_as_torchdistill_computes_them(
    kind: Any, formula: Any, torchdistill: float
) -> None:
    """RKDLoss of torchdistill 1.1.5, reduction mean, one of its factors 0 at a time."""
    ours, theirs = (formula(one.numpy()) for one in VECTORS)
    rows = [np.mean([huber(gap) for gap in (a - b).ravel()]) for a, b in zip(ours, theirs, strict=True)]
    found = of_feature(kind("f"), *VECTORS)
    torch.testing.assert_close(found, torch.tensor(rows).float(), atol=1e-5, rtol=1e-4)
    assert found.mean().item() == pytest.approx(torchdistill, rel=1e-4)


@pytest.mark.parametrize("kind", [Distances, Angles])
def test_relations_do_not_see_place_rotation_and_scale(kind: Any) -> None:
    turn, _ = torch.linalg.qr(wave(3, 3, a=1.9, b=0.3))
    moved = 5.0 * VECTORS[0] @ turn + 100.0
    torch.testing.assert_close(of_feature(kind("f"), moved, VECTORS[0]), torch.zeros(5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [Distances, Angles])
def test_equal_samples_and_batches_of_one_are_finite(kind: Any) -> None:
    twice = VECTORS[0][[0, 0, 1]]
    for pair in ((twice, VECTORS[1][:3]), (VECTORS[0][:1], VECTORS[1][:1]), (twice[:2], VECTORS[1][:2])):
        assert torch.isfinite(of_feature(kind("f"), *pair)).all()
        assert torch.isfinite(gradient(kind("f"), *pair, call=of_feature)).all()


@pytest.mark.parametrize(
    ("objective", "pair"),
    [
        (Distances("f"), VECTORS),
        (Angles("f"), VECTORS),
        (Attention("f"), tuple(one[:2, :, :2, :2] for one in MAPS)),
    ],
    ids=["distances", "angles", "attention"],
)
def test_gradients_are_those_of_the_values(objective: Any, pair: Any) -> None:
    found = gradient(objective, *pair, call=of_feature)
    torch.testing.assert_close(
        found, numeric_gradient(objective, *pair, call=of_feature), atol=1e-3, rtol=1e-2
    )
    assert found.abs().max() > 1e-3


def test_gradient_of_a_hint_reaches_the_map_and_the_student() -> None:
    hint = mapped(3, 6, is_map=True)
    s = MAPS[0].float().requires_grad_()
    of_feature(hint, s, MAPS[1].float()).sum().backward()
    assert s.grad is not None
    assert hint.regressor.weight.grad is not None
    gap = hint.regressor(s) - MAPS[1].float()
    expected = torch.einsum("bcij,cd->bdij", 2 * gap / 96, hint.regressor.weight[:, :, 0, 0])
    torch.testing.assert_close(s.grad, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "objective", [Hint("f", "g"), Attention("f", "g"), Distances("f", "g"), Angles("f", "g")]
)
def test_the_teachers_feature_may_have_another_name(objective: FeatureObjective) -> None:
    assert (objective.needs.student, objective.needs.teacher) == (frozenset({"f"}), frozenset({"g"}))
    assert objective.needs.option == "options.features"


@pytest.mark.parametrize(
    ("objective", "ours", "theirs", "said"),
    [
        (Hint("f"), Has(3, is_map=True), Has(3), "'f' is a map of channels, the teacher's 'f' one vector"),
        (Attention("f"), Has(3), Has(3), "expected of both a map of channels; name another feature"),
        (Distances(STATES), Has(3, STATES), Has(3, STATES), "is a vector for each token"),
        (Angles(STATES), Has(3, STATES), Has(3, STATES), "expected of both one vector a sample or a map"),
    ],
)
def test_features_of_other_kinds_are_refused_before_training(
    objective: FeatureObjective, ours: Student, theirs: Student, said: str
) -> None:
    with pytest.raises(UsageError, match=rf"options\.features: the student's .*{said}"):
        objective.setup(ours, [theirs])
