"""Self-distillation with ground truth: the authors' kernel ridge numbers, and alpha against brute force."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compactor.data.image_loader import eval_batches
from compactor.records import IGNORE, Batch, Outputs, Step
from compactor.targets.with_truth import MixedWithTruth, best_alpha, inner_products, mixed
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys

AT = Step(0, 1, 0, 1)
X = np.arange(11) / 10
# the noisy sine of Mobahi, Farajtabar, Bartlett (arXiv 2002.05715), which Borup and Andersen fit too
Y = np.array(
    [0.38476636, 1.23339677, 1.33232242, 0.69201595, -0.29756146, -0.24189292]
    + [-0.79644858, -0.96164802, -0.4967251, -0.3469066, 0.55895127]
)
GAMMA, RIDGE = 80.0, 0.2
# mean squared distance to the sine after steps 1 to 6, and in the limit
GOLDEN = {
    0.0: [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251, 0.49505],
    0.25: [0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011, 0.15250],
    0.35: [0.16477, 0.15424, 0.15089, 0.14983, 0.14954, 0.14948, 0.14959],
}


def kernel(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-GAMMA * (rows[:, None] - X) ** 2)


def distance(targets: NDArray[np.float64], ridge: float = RIDGE) -> float:
    """Of the ridge fit of some targets at the 11 points to the sine, on 101 points."""
    at = np.arange(101) / 100
    fit = kernel(at) @ np.linalg.solve(kernel(X) + ridge * np.eye(11), targets)
    return float(((fit - np.sin(2 * np.pi * at)) ** 2).mean())


@pytest.mark.parametrize("alpha", GOLDEN)
def test_kernel_ridge_regression_repeats_the_authors_numbers(alpha: float) -> None:
    """Step t fits alpha y + (1 - alpha) f_{t-1}, f_0 = y; in the limit one fit with the ridge over alpha."""
    found, previous = [], Y
    smoother = kernel(X) @ np.linalg.inv(kernel(X) + RIDGE * np.eye(11))
    for _ in range(6):
        targets = alpha * Y + (1 - alpha) * previous
        found.append(distance(targets))
        previous = smoother @ targets
    limit = distance(Y, RIDGE / alpha) if alpha else distance(np.zeros(11))
    assert [*found, limit] == pytest.approx(GOLDEN[alpha], abs=6e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.35])
def test_the_recursion_in_the_kernel_s_basis_is_the_same_chain(alpha: float) -> None:
    """B_{t+1} = A ((1 - alpha) B_t + alpha I), A = d / (d + ridge), to alpha d / (alpha d + ridge)."""
    d, basis = np.linalg.eigh(kernel(X))
    shrink, smoother = d / (d + RIDGE), kernel(X) @ np.linalg.inv(kernel(X) + RIDGE * np.eye(11))
    scale, fit = shrink, smoother @ Y
    for _ in range(200):
        scale = shrink * ((1 - alpha) * scale + alpha)
        fit = smoother @ (alpha * Y + (1 - alpha) * fit)
        np.testing.assert_allclose(basis @ (scale * (basis.T @ Y)), fit, atol=1e-12)
    np.testing.assert_allclose(scale, alpha * d / (alpha * d + RIDGE) if alpha else 0 * d, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_the_best_of_a_fine_grid_where_fits_are_linear(seed: int) -> None:
    """One-hot labels, kernel ridge fits: a mixed target's fit is the mix of the fits, so alpha is exact."""
    rng = np.random.default_rng(seed)
    labels, held = rng.integers(0, 3, 11), rng.integers(0, 3, 9)
    at, onehot = rng.random(9), np.eye(3)
    smooth = np.linalg.inv(kernel(X) + RIDGE * np.eye(11))
    previous = kernel(X) @ smooth @ onehot[labels]

    def fit(alpha: float) -> NDArray[np.float64]:
        return kernel(at) @ smooth @ (alpha * onehot[labels] + (1 - alpha) * previous)

    towards, square = inner_products(*map(torch.from_numpy, (held, fit(0.0), fit(1.0))))
    found = best_alpha(float(towards), float(square))
    grid = np.arange(1001) / 1000
    errors = [float(((onehot[held] - fit(alpha)) ** 2).sum()) for alpha in grid]
    assert found == pytest.approx(grid[int(np.argmin(errors))], abs=5.1e-4)


def test_alpha_stays_between_0_and_1() -> None:
    assert [best_alpha(*one) for one in ((-1.0, 2.0), (3.0, 2.0), (1.0, 4.0), (0.0, 0.0))] == [0, 1, 0.25, 1]


def test_targets_mix_labels_with_answers_and_are_the_answers_where_there_is_no_label() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    found = mixed(p.log(), torch.tensor([1, IGNORE]), 0.25).exp()
    torch.testing.assert_close(found, torch.tensor([[0.525, 0.4, 0.075], [0.7, 0.2, 0.1]]))
    assert torch.equal(mixed(p.log(), None, 0.25), p.log())
    torch.testing.assert_close(mixed(p.log(), torch.tensor([1, 0]), 0.0), p.log())


def test_alpha_is_chosen_from_the_teachers_in_their_roles() -> None:
    """By hand on the answers of the two; the third makes targets and has no say."""
    models = [toys.classifier(seed) for seed in (1, 2, 3)]
    split = toys.split(20)
    policy = MixedWithTruth(None, pure=2, ground=0)
    policy.choose(Teachers(models), lambda: eval_batches(split, 8))
    (whole,) = eval_batches(split, 20)
    with torch.no_grad():
        ground, _, pure = (model(**whole.x)["label"].double().softmax(-1) for model in models)
    towards, square = inner_products(whole.y["label"], pure, ground)
    alpha = float((towards / square).clamp(0, 1))
    assert policy.chosen == {"label": pytest.approx(alpha)}
    assert policy.summary() == {"alpha": policy.chosen}
    assert "chosen on select: alpha" in policy.note()
    log_p = torch.log_softmax(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), -1)
    made = policy.make(whole, Outputs({}, {"label": log_p}), AT).heads["label"]
    torch.testing.assert_close(made.log_p, mixed(log_p, whole.y["label"], policy.chosen["label"]))  # type: ignore[union-attr]


def test_without_labels_on_select_nothing_can_be_chosen() -> None:
    def unlabelled() -> list[Batch]:
        (whole,) = eval_batches(toys.split(6), 6)
        return [Batch(whole.x, {"label": torch.full((6,), IGNORE)}, whole.id)]

    policy = MixedWithTruth(None, pure=1, ground=0)
    teachers = Teachers([toys.classifier(1), toys.classifier(2)])
    with pytest.raises(UsageError, match=r"auto found, but no select sample has a 'label'"):
        policy.choose(teachers, lambda: iter(unlabelled()))
