"""HiddenMatch by hand."""

import pytest
import torch
from torch import nn

from compactor.objectives.hidden import STATES, HiddenMatch
from compactor.records import Batch, Outputs, Step, Target
from compactor_runtimes.errors import UsageError


class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width


class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.encoder = Encoder(width)


def terms(objective, ours, theirs, mask):
    batch = Batch(x={"attention_mask": torch.tensor(mask)}, y={}, id=torch.arange(len(mask)))
    student, teacher = (Outputs({}, features={STATES: value}) for value in (ours, theirs))
    return objective(student, teacher, Target(), batch, Step(0, 1, 0, 1))["hidden"]


def test_golden_value_through_a_map():
    objective = HiddenMatch()
    module = objective.setup(Model(2), [Model(3)])
    assert module is not None
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    ours = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]], requires_grad=True)
    theirs = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
    term = terms(objective, ours, theirs, [[1, 0]])
    # W h = (1, 2, 3): squares 0, 1, 4, their mean is 5 / 3; the second token is padding
    assert term.loss[0, 0].item() == pytest.approx(5 / 3)
    assert term.valid.tolist() == [[True, False]]
    term.loss[term.valid].sum().backward()
    assert module.weight.grad.abs().sum() > 0
    assert ours.grad[0, 1].tolist() == [0, 0]


def test_equal_widths_need_no_map():
    objective = HiddenMatch("cosine")
    assert objective.setup(Model(2), [Model(2)]) is None
    ours, theirs = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 3.0]]])
    assert terms(objective, ours, theirs, [[1]]).loss.item() == pytest.approx(1.0)
    assert terms(objective, ours, 5 * ours, [[1]]).loss.item() == pytest.approx(0.0, abs=1e-6)


def test_models_without_states_are_refused():
    with pytest.raises(UsageError, match="the teacher has no hidden states"):
        HiddenMatch().setup(Model(2), [nn.Linear(1, 1)])
