"""LELP's linear steps: the golden target, and what projection, directions and rotation promise."""

import math

import pytest
import torch
from torch import Tensor

from compactor.targets.subclass_directions import (
    Directions,
    find_directions,
    null_space,
    rotation,
    subclass_log_p,
)
from compactor_runtimes.errors import UsageError

W = torch.eye(4)[:2]
H = torch.tensor([[2.0, -1.0, 0.5, -0.25]])


def features(n: int = 60, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two classes, each with most variance along an axis of its own."""
    made = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    classes = torch.arange(n) % 2
    made[classes == 0, 3] *= 9
    made[classes == 1, 4] *= 9
    return made, classes


def test_golden_target() -> None:
    """W = e1, e2; mu = e1, e2; V = e3, e4 turned by 30 degrees; beta .5: the specification's numbers."""
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    turned = torch.tensor([[0, 0, cos, -sin], [0, 0, sin, cos]])
    found = Directions(W, torch.stack([turned, turned]), torch.tensor([2, 2]), 1.0)
    log_p = subclass_log_p((H @ W.T).log_softmax(-1), found.scores(H), beta=0.5)
    expected = torch.tensor([[0.705467, 0.247107, 0.035123, 0.012303]])
    torch.testing.assert_close(log_p.exp(), expected, atol=1e-6, rtol=0)


def test_subclasses_of_a_class_sum_to_its_probability() -> None:
    made, classes = features()
    found = find_directions(made, classes, num_classes=2, count=3, seed=0).to(torch.device("cpu"))
    log_q = torch.randn(60, 2, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    p = subclass_log_p(log_q, found.scores(made), beta=found.spread).exp()
    torch.testing.assert_close(p.view(60, 2, 3).sum(-1), log_q.exp())
    one = find_directions(made, classes, num_classes=2, count=1, seed=0).to(torch.device("cpu"))
    torch.testing.assert_close(subclass_log_p(log_q, one.scores(made), beta=0.3), log_q)


def test_what_is_kept_moves_no_logit() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    kept = null_space(weight)
    made = torch.randn(5, 8, generator=torch.Generator().manual_seed(3)).double()
    assert (weight.double() @ (kept @ made.T)).abs().max() < 1e-12
    torch.testing.assert_close(kept @ kept, kept)
    assert torch.linalg.matrix_rank(kept) == 5
    found = find_directions(
        made.float(), torch.zeros(5, dtype=torch.int64), num_classes=1, count=2, seed=0, kept=kept
    )
    assert (found.axes[0] @ weight.double().T).abs().max() < 1e-6


def test_a_layer_that_sees_all_features_leaves_nothing() -> None:
    with pytest.raises(UsageError, match=r"last layer \[4, 3\] sees all of its features.*null_space: false"):
        null_space(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))


def test_rotations_are_orthogonal_and_a_seed_s_own() -> None:
    first = rotation(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(first @ first.T, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(rotation(5, torch.Generator().manual_seed(0)), first)
    assert not torch.allclose(rotation(5, torch.Generator().manual_seed(1)), first)


def test_directions_are_those_of_most_variance_in_any_basis_of_theirs() -> None:
    """Rotated, they span what the principal components span; scores are centred in their own class."""
    made, classes = features()
    found = find_directions(made, classes, num_classes=2, count=2, seed=0)
    for number in (0, 1):
        rows = made[classes == number].double()
        centred = rows - rows.mean(0)
        _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
        mine = found.axes[number]
        torch.testing.assert_close(mine @ mine.T, torch.eye(2, dtype=torch.float64))
        torch.testing.assert_close(mine.T @ mine, axes[:2].T @ axes[:2])
        torch.testing.assert_close((centred @ mine.T).square().sum(), sizes[:2].square().sum())
    scores = found.scores(made.double())[torch.arange(60), classes]
    assert scores[classes == 0].mean(0).abs().max() < 1e-12
    assert found.spread == pytest.approx(float(scores.square().mean()) ** 0.5)
    assert found.ranks.tolist() == [2, 2]


def test_signs_do_not_hang_on_the_order_of_samples() -> None:
    made, classes = features()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    first = find_directions(made, classes, num_classes=2, count=3, seed=0)
    second = find_directions(made[order], classes[order], num_classes=2, count=3, seed=0)
    torch.testing.assert_close(first.axes, second.axes)


def test_more_directions_than_vary() -> None:
    """Three samples span two directions, one sample and a class without any none: their scores stay 0."""
    made = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    found = find_directions(made, torch.tensor([0, 0, 0, 1]), num_classes=3, count=4, seed=0)
    assert found.ranks.tolist() == [2, 0, 0]
    assert torch.linalg.matrix_rank(found.axes[0]) == 2
    scores = found.scores(made.double())
    assert scores[:, 0].abs().max() > 0.1
    assert not scores[:, 1:].any()
    flat = find_directions(
        torch.ones(4, 6), torch.zeros(4, dtype=torch.int64), num_classes=1, count=2, seed=0
    )
    assert (flat.ranks.tolist(), flat.spread) == ([0], 1.0)
