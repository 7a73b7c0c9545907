"""LELP's loss: golden value, gradients, and when it is plain distillation."""

import pytest
import torch
from torch import Tensor

from compactor.objectives.divergences import SoftCrossEntropy
from compactor.objectives.subclass_ce import SubclassCrossEntropy
from compactor.records import SUBCLASSES, Batch, Outputs, Soft, Step, Target
from compactor.targets.subclass_directions import subclass_log_p
from compactor.targets.subclasses import SubclassTargets

AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.zeros(1, dtype=torch.int64))
OBJECTIVE = SubclassCrossEntropy(SubclassTargets(temperature=1, beta=None, null_space=True, seed=0))


def loss(scores: Tensor, log_p: Tensor) -> Tensor:
    target = Target({SUBCLASSES: Soft(log_p=log_p)})
    terms = OBJECTIVE(Outputs({}, features={SUBCLASSES: scores}), None, target, BATCH, AT)
    return terms["subclass_ce"].loss


def kd(logits: Tensor, log_q: Tensor) -> Tensor:
    target = Target({"label": Soft(log_p=log_q)})
    return SoftCrossEntropy()(Outputs({"label": logits}), None, target, BATCH, AT)["soft_ce"].loss


def folded(scores: Tensor, subclasses: int) -> Tensor:
    return scores.unflatten(-1, (-1, subclasses)).logsumexp(-1)


def test_golden_value() -> None:
    z = torch.tensor([[1.0, 0.5, -0.5, 0.0]])
    p = torch.tensor([[0.705467, 0.247107, 0.035123, 0.012303]])
    assert loss(z, p.log()).item() == pytest.approx(0.975880, abs=2e-6)
    torch.testing.assert_close(folded(z, 2), torch.tensor([[1.474077, 0.474077]]), atol=1e-6, rtol=0)


def test_the_gradient_is_what_the_student_says_minus_the_target() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 6, generator=generator).requires_grad_()
    log_p = torch.randn(3, 6, generator=generator).log_softmax(-1)
    loss(z, log_p).sum().backward()
    torch.testing.assert_close(z.grad, z.detach().softmax(-1) - log_p.exp())


@pytest.mark.parametrize("subclasses", [1, 3])
def test_a_target_that_divides_classes_as_the_student_does_is_plain_distillation(subclasses: int) -> None:
    """With one subclass always; with equal ones where the student's are; in general as its name says."""
    generator = torch.Generator().manual_seed(1)
    log_q = torch.randn(4, 2, generator=generator).log_softmax(-1)
    equal = torch.randn(4, 2, 1, generator=generator).expand(4, 2, subclasses).flatten(1)
    drawn = torch.randn(4, 2 * subclasses, generator=generator)
    for z, scores in ((equal, torch.zeros(4, 2, subclasses)), (drawn, drawn.view(4, 2, subclasses))):
        ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
        loss(ours, subclass_log_p(log_q, scores, beta=1.0)).sum().backward()
        kd(folded(theirs, subclasses), log_q).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_probabilities_of_zero_cost_nothing() -> None:
    z = torch.zeros(1, 4, requires_grad=True)
    found = loss(z, torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log())
    found.sum().backward()
    assert found.item() == pytest.approx(torch.tensor(4.0).log().item())
    assert z.grad is not None
    assert z.grad.isfinite().all()
