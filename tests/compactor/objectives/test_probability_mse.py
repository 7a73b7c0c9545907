"""Mean squared error of probabilities: by hand, its gradient, and that labels and answers may be mixed."""

import pytest
import torch
from torch import Tensor

from compactor.objectives.probability_mse import ProbabilityMse
from compactor.records import Batch, Outputs, Soft, Step, Target

AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.zeros(1, dtype=torch.int64))


def loss(logits: Tensor, p: Tensor) -> Tensor:
    target = Target({"label": Soft(log_p=p.log())})
    (term,) = ProbabilityMse()(Outputs({"label": logits}), None, target, BATCH, AT).values()
    return term.loss


def test_by_hand() -> None:
    """[.5, .25, .25] against the label [1, 0, 0]: (.25 + .0625 + .0625) / 3."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    assert loss(logits, torch.tensor([[1.0, 0.0, 0.0]])).item() == pytest.approx(0.125)


def test_gradient() -> None:
    """d/dz_i = 2/C s_i ((s_i - q_i) - sum_j s_j (s_j - q_j)); also where the target has zeros."""
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    q = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1]])
    loss(z, q).sum().backward()
    s = z.detach().softmax(-1)
    apart = s - q
    torch.testing.assert_close(z.grad, 2 / 4 * s * (apart - (s * apart).sum(-1, keepdim=True)))


def test_to_the_mix_is_the_mix_of_both_but_for_a_constant() -> None:
    """The authors' alpha MSE(y) + (1 - alpha) MSE(p) has the gradient of MSE(alpha y + (1 - alpha) p)."""
    y, p, alpha = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.2, 0.5, 0.3]]), 0.35
    gradients = []
    for apart in (True, False):
        z = torch.tensor([[0.3, -0.2, 0.9]], requires_grad=True)
        if apart:
            total = alpha * loss(z, y) + (1 - alpha) * loss(z, p)
        else:
            total = loss(z, alpha * y + (1 - alpha) * p)
        total.sum().backward()
        assert z.grad is not None
        gradients.append(z.grad)
    torch.testing.assert_close(*gradients)
