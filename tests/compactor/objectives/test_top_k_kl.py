"""FIRST's loss: golden value, gradient, and that only the k classes count."""

import pytest
import torch
from torch import Tensor

from compactor.objectives.top_k_kl import TopKKl
from compactor.records import Batch, Outputs, Soft, Step, Target

AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.zeros(1, dtype=torch.int64))
IDS = torch.tensor([[3, 0, 5, 1, 4]])


def loss(logits: Tensor, p: Tensor, ids: Tensor = IDS) -> Tensor:
    target = Target({"label": Soft(ids=ids, p=p, tail=torch.zeros_like(p[..., 0]))})
    (term,) = TopKKl()(Outputs({"label": logits}), None, target, BATCH, AT).values()
    return term.loss


def test_golden_value() -> None:
    """S = [.5, .2, .1, .1, .05] of six classes; P' of [.7, .1, .08, .05, .02] with c .3: KL .070896."""
    p = torch.tensor([[0.675603, 0.091433, 0.085536, 0.077396, 0.070031]])
    student = torch.full((1, 6), 0.05)
    student.scatter_(1, IDS, torch.tensor([[0.5, 0.2, 0.1, 0.1, 0.05]]))
    assert loss(student.log(), p).item() == pytest.approx(0.070896, abs=2e-6)


def test_gradient_is_that_of_a_softmax_over_the_k_classes_and_nothing_elsewhere() -> None:
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    p = torch.tensor([[0.6, 0.2, 0.1, 0.06, 0.04]])
    loss(logits, p).sum().backward()
    assert logits.grad is not None
    expected = torch.zeros(1, 6).scatter(1, IDS, logits.detach().gather(1, IDS).softmax(-1) - p)
    torch.testing.assert_close(logits.grad, expected)
    assert logits.grad[0, 2] == 0


def test_equal_answers_cost_nothing_also_where_the_student_gives_them_hardly_any_mass() -> None:
    p = torch.tensor([[0.6, 0.2, 0.1, 0.06, 0.04]])
    logits = torch.full((1, 6), 200.0).scatter(1, IDS, p.log())
    assert loss(logits, p).item() == pytest.approx(0, abs=1e-6)


def test_of_words_those_with_a_label_count() -> None:
    p, ids = torch.full((1, 2, 2), 0.5), torch.zeros(1, 2, 2, dtype=torch.int64)
    ids[..., 1] = 1
    batch = Batch({}, {}, torch.zeros(1, dtype=torch.int64), mask=torch.tensor([[True, False]]))
    target = Target({"slot": Soft(ids=ids, p=p, tail=torch.zeros(1, 2))})
    (term,) = TopKKl()(Outputs({"slot": torch.zeros(1, 2, 3)}), None, target, batch, AT).values()
    assert term.loss.shape == (1, 2)
    assert term.valid is batch.mask
