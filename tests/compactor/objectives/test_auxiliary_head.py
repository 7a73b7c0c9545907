"""The loss on logits by hand, that it is the paper's BinaryKL, and the head that it trains."""

import pytest
import torch
from torch import nn

from compactor.objectives.auxiliary_head import AuxiliaryHead, logit_distance
from compactor.records import PENULTIMATE, Batch, Outputs, Step, Target
from tests import toys

S, T = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[1.0, 3.0, 0.0, 2.0]])
AT = Step(0, 1, 0, 1)


def test_golden_and_its_gradient() -> None:
    ours = S.clone().requires_grad_()
    loss = logit_distance(ours, T, 2.0)
    assert loss.tolist() == pytest.approx([1.637242], abs=1e-6)
    loss.sum().backward()
    assert ours.grad is not None
    assert ours.grad[0].tolist() == pytest.approx([0.244919, -0.462117, 0, -0.635149], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_it_is_the_binary_divergence_of_normalised_logits(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (3 * torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    yes = torch.sigmoid((ours - theirs) / temperature)
    binary = 0.5 * ((0.5 / yes).log() + (0.5 / (1 - yes)).log())
    torch.testing.assert_close(logit_distance(ours, theirs, temperature), temperature**2 * binary.sum(-1))


def test_it_is_symmetric_zero_at_the_teacher_and_finite_far_from_it() -> None:
    torch.testing.assert_close(logit_distance(S, T, 2.0), logit_distance(T, S, 2.0))
    assert logit_distance(T, T, 2.0).item() == pytest.approx(0, abs=1e-6)
    far = (1e6 * S).requires_grad_()
    loss = logit_distance(far, T, 2.0)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert far.grad is not None
    # T / 2 at most, which is what a constant shift of all logits costs too: no softmax forgives it
    assert far.grad.abs().max() == pytest.approx(1.0)
    assert logit_distance(T + 3, T, 2.0) > 1


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: logit_distance(s, theirs, 2.0), (ours.requires_grad_(),))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_head_reads_the_penultimate_feature_and_is_not_the_students(kind: str) -> None:
    student = toys.classifier()
    objective = AuxiliaryHead(kind, 2.0)  # type: ignore[arg-type]
    torch.manual_seed(5)
    made = objective.setup(student, [])
    assert not {id(one) for one in made.parameters()} & {id(one) for one in student.parameters()}
    layers = [one for one in made.modules() if isinstance(one, nn.Linear)]
    shapes = [(one.in_features, one.out_features) for one in layers]
    assert shapes == {"linear": [(16, 3)], "mlp": [(16, 200), (200, 3)]}[kind]
    said = Outputs({}, features={PENULTIMATE: torch.rand(4, 16)})
    taught = Outputs({"label": torch.rand(4, 3)})
    batch = Batch({}, {"label": torch.full((4,), -100)}, torch.arange(4))
    torch.manual_seed(6)
    term = objective(said, taught, Target(), batch, AT)["aux"]
    torch.manual_seed(6)
    expected = logit_distance(made(said.features[PENULTIMATE]), taught.logits["label"], 2.0)
    torch.testing.assert_close(term.loss, expected)
    assert term.valid is None  # rows without a label have a teacher too
