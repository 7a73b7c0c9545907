"""DIST and spherical KD: values by hand and as another tool has them, gradients, and what they do not see."""

from typing import Any

import numpy as np
import pytest
import torch

from compactor.objectives.correlation import BetweenClasses, WithinClass
from compactor.objectives.spherical import Spherical
from tests.compactor.objectives.formulas import S, T, gradient, kl, numeric_gradient, of, pearson, softmax

EVERY = [BetweenClasses(temperature=2.0), WithinClass(temperature=2.0), Spherical(2.0)]


def probabilities(temperature: float) -> tuple[list[list[float]], list[list[float]]]:
    p, q = ([softmax([value / temperature for value in row]) for row in one.tolist()] for one in (S, T))
    return p, q


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_both_correlations_by_hand(temperature: float) -> None:
    p, q = probabilities(temperature)
    square = temperature**2
    rows = [square * (1 - pearson(a, b)) for a, b in zip(q, p, strict=True)]
    found = of(BetweenClasses(temperature=temperature), S, T)
    torch.testing.assert_close(found, torch.tensor(rows), atol=1e-5, rtol=1e-5)
    columns = [[[row[c] for row in one] for c in range(5)] for one in (q, p)]
    across = np.mean([square * (1 - pearson(a, b)) for a, b in zip(*columns, strict=True)])
    found = of(WithinClass(temperature=temperature), S, T)
    torch.testing.assert_close(found, torch.full((4,), float(across)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"), [(BetweenClasses, 17.06019816095612), (WithinClass, 18.853214871980033)]
)
def test_as_torchdistill_computes_dist(kind: Any, expected: float) -> None:
    """DISTLoss of torchdistill 1.1.5 with tau 4, on the same numbers, one of its weights 0 at a time."""
    assert of(kind(temperature=4.0), S, T).mean().item() == pytest.approx(expected, rel=1e-5)


def test_correlation_does_not_see_scale_and_place_of_probabilities() -> None:
    """A student whose probabilities are half the teacher's and half uniform has learned all."""
    mixed = (0.5 * T.softmax(-1) + 0.5 / 5).log()
    for kind in (BetweenClasses, WithinClass):
        torch.testing.assert_close(of(kind(), mixed, T), torch.zeros(4), atol=1e-6, rtol=0)


def test_a_batch_of_one_has_no_relation_and_no_gradient() -> None:
    assert of(WithinClass(), S[:1], T[:1]).item() == 1
    assert not gradient(WithinClass(), S[:1], T[:1]).any()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_spherical_by_hand(scale: float) -> None:
    expected = []
    for rows in zip(T.tolist(), S.tolist(), strict=True):
        on_sphere = [scale * (np.array(row) - np.mean(row)) / np.std(row) / 3.0 for row in rows]
        expected.append(9.0 * kl(*(softmax(one) for one in on_sphere)))
    torch.testing.assert_close(
        of(Spherical(3.0, scale=scale), S, T), torch.tensor(expected), atol=1e-5, rtol=1e-5
    )


def test_as_torchdistill_computes_standardised_logits() -> None:
    """LogitStdKDLoss (1.1.5), temperature 2: without T^2, its deviation over C - 1 rather than C, a scale.

    The losses that it calls SKD are of another method, Streamlined KD.
    """
    found = of(Spherical(2.0, scale=(4 / 5) ** 0.5), S, T).mean().item() / 4
    assert found == pytest.approx(0.20394123240487538, rel=1e-5)


def test_spherical_does_not_see_confidence() -> None:
    """Any positive multiple of the teacher's logits has loss and gradient 0."""
    for factor in (0.1, 5.0):
        torch.testing.assert_close(of(Spherical(), factor * T + 2.0, T), torch.zeros(4), atol=1e-5, rtol=0)
        assert gradient(Spherical(), factor * T, T).abs().max() < 1e-5
    assert of(Spherical(), -T, T).min() > 0.5


def test_alike_logits_are_finite() -> None:
    flat = torch.zeros(2, 5)
    assert torch.isfinite(of(Spherical(), flat, T[:2])).all()
    assert torch.isfinite(gradient(Spherical(), flat, T[:2])).all()


@pytest.mark.parametrize("objective", EVERY, ids=lambda one: one.name)
def test_gradients_are_those_of_the_values(objective: Any) -> None:
    found = gradient(objective, S, T)
    torch.testing.assert_close(found, numeric_gradient(objective, S, T), atol=5e-4, rtol=5e-3)
    torch.testing.assert_close(found.sum(-1), torch.zeros(4, dtype=found.dtype), atol=1e-5, rtol=0)
