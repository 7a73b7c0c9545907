"""Robust active distillation: golden values, the closed form against the linear program, exact draws."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from compactor.samplers.robust_game import gains_of, marginals, pick, robust_distribution

GAINS = np.array([0.9, 0.8, 0.5, 0.3, 0.1])


def value(q: NDArray[np.float64], gains: NDArray[np.float64], wrong: int) -> float:
    """What is left when the `wrong` most valuable answers are lost."""
    return float(np.sort(q * gains)[: len(gains) - wrong].sum())


def optimum(gains: NDArray[np.float64], wrong: int, budget: float = 1.0, cap: float = np.inf) -> float:
    """Maximise sum q g - (wrong t + sum s), s >= q g - t, s >= 0: the largest `wrong` of q g by duality."""
    n = len(gains)
    cost = np.concatenate([-gains, [wrong], np.ones(n)])
    above = np.hstack([np.diag(gains), -np.ones((n, 1)), -np.eye(n)])
    total = np.concatenate([np.ones(n), np.zeros(n + 1)])[None]
    found = linprog(
        cost,
        A_ub=above,
        b_ub=np.zeros(n),
        A_eq=total,
        b_eq=[budget],
        bounds=[(0, cap)] * n + [(0, None)] * (n + 1),
    )
    assert found.success
    return float(-found.fun)


@pytest.mark.parametrize(
    ("wrong", "p", "expected"),
    [
        (0, [1, 0, 0, 0, 0], 0.9),
        (1, [0.254777, 0.286624, 0.458599, 0, 0], 0.458599),
        (2, [0.144404, 0.162455, 0.259928, 0.433213, 0], 0.259928),
        (3, [0.144404, 0.162455, 0.259928, 0.433213, 0], 0.129964),
    ],
)
def test_golden_values(wrong: int, p: list[float], expected: float) -> None:
    found = robust_distribution(GAINS, wrong)
    assert found == pytest.approx(p, abs=1e-6)
    assert value(found, GAINS, wrong) == pytest.approx(expected, abs=1e-6)
    backwards = robust_distribution(GAINS[::-1], wrong)
    assert backwards[::-1] == pytest.approx(found)


def test_the_closed_form_is_the_optimum_of_the_linear_program() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(2, 9))
        gains, wrong = rng.uniform(0.01, 1, n), int(rng.integers(0, n))
        p = robust_distribution(gains, wrong)
        assert p.sum() == pytest.approx(1)
        assert value(p, gains, wrong) == pytest.approx(optimum(gains, wrong), abs=1e-9)


def test_a_budget_scales_it_where_no_cap_binds() -> None:
    rng, scaled = np.random.default_rng(1), 0
    for _ in range(60):
        n = int(rng.integers(4, 9))
        gains, wrong, budget = rng.uniform(0.3, 1, n), int(rng.integers(0, n - 1)), int(rng.integers(1, 4))
        p = robust_distribution(gains, wrong)
        q = marginals(p, gains, budget)
        assert q.sum() == pytest.approx(budget)
        assert q.max() <= 1
        assert q.min() >= 0
        best = optimum(gains, wrong, budget, cap=1.0)
        assert value(q, gains, wrong) <= best + 1e-9
        if budget * p.max() <= 1:
            scaled += 1
            assert q == pytest.approx(budget * p)
            assert value(q, gains, wrong) == pytest.approx(best, abs=1e-9)
    assert scaled > 10


def test_what_a_cap_leaves_is_redistributed() -> None:
    """2 picks of p = (.2548, .2866, .4586) need no cap; 3 are all that have a share."""
    p = robust_distribution(GAINS, 1)
    assert marginals(p, GAINS, 2) == pytest.approx([0.509554, 0.573248, 0.917197, 0, 0], abs=1e-6)
    assert marginals(p, GAINS, 3).tolist() == [1, 1, 1, 0, 0]
    # m = 2: b p = (.433, .487, .780, 1.300): .3 goes to the others, by 1/.9 : 1/.8 : 1/.5
    q = marginals(robust_distribution(GAINS, 2), GAINS, 3)
    assert q == pytest.approx([*(2 / (1 / 0.9 + 1 / 0.8 + 2) / GAINS[:3]), 1, 0])


def test_nobody_wrong_asks_about_the_largest_gains() -> None:
    """The single top sample, as often as it can be asked: once; so the next ones join it."""
    assert marginals(robust_distribution(GAINS, 0), GAINS, 3).tolist() == [1, 1, 1, 0, 0]
    assert marginals(robust_distribution(GAINS, 0), GAINS, 5).tolist() == [1] * 5
    assert marginals(robust_distribution(GAINS, 0), GAINS, 0).tolist() == [0] * 5


def test_gains_of_nothing() -> None:
    """Zero gains never win over others; where all are zero, all are alike."""
    assert robust_distribution(np.array([0.5, 0.4, 0.0]), 1)[:2].sum() == pytest.approx(1)
    assert robust_distribution(np.zeros(4), 2) == pytest.approx([0.25] * 4)


def test_gains_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    assert gains_of(p, "margin") == pytest.approx([0.8, 0.0])
    assert gains_of(p, "entropy") == pytest.approx([1.029653, 0.0], abs=1e-6)


def test_draws_are_exact_in_number_and_in_probability() -> None:
    """4 standard errors of 4000 draws are at most .032."""
    q = marginals(robust_distribution(GAINS, 2), GAINS, 2)
    rng, counts = np.random.default_rng(0), np.zeros(5)
    for _ in range(4000):
        found = pick(q, rng)
        assert len(set(found.tolist())) == len(found) == 2
        counts[found] += 1
    assert counts / 4000 == pytest.approx(q, abs=0.032)
    assert counts[4] == 0


@pytest.mark.parametrize("budget", [1, 7, 333, 1000])
def test_as_many_picks_as_the_budget_of_many_samples(budget: int) -> None:
    rng = np.random.default_rng(budget)
    gains = rng.uniform(0, 1, 1000)
    for wrong in (0, 100, 999):
        found = pick(marginals(robust_distribution(gains, wrong), gains, budget), rng)
        assert len(np.unique(found)) == len(found) == budget


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="wrong: got 5, expected 0 to 4"):
        robust_distribution(GAINS, 5)
    with pytest.raises(ValueError, match="budget: got 6, expected 0 to 5"):
        marginals(np.full(5, 0.2), GAINS, 6)
