"""The joint head by hand: labels, the answer of all copies, and what is constant in its distillation."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compactor.models.classifier import Backbone, ImageClassifier
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.objectives.joint_labels import JointCrossEntropy, JointHead, SelfDistillation, aggregate
from compactor.records import IGNORE, PENULTIMATE, PIXELS, Batch, ImageInfo, Outputs, Step, Target
from compactor.targets.transformed import TransformedCopies
from compactor_runtimes.errors import UsageError
from tests import toys

AT = Step(0, 1, 0, 1)
# M = 2, C = 3: rows are the copies of one sample, columns class * 2 + copy
JOINT = [[0.5, -1, 2, 0, 1, 0.3], [0, 1, -0.5, 0.7, 0.2, -1]]
PLAIN = [[0.2, 1, -0.3], [9.0, -9, 9]]  # of the second copy nothing may count


class Says(nn.Module):
    """A joint head that always says this."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits


def parts(*labels: int) -> tuple[JointHead, Outputs, Batch]:
    """The golden sample, once for each label."""
    halves = TransformedCopies(2, 1)
    joint, n = JointHead(halves), len(labels)
    joint.module = Says(torch.tensor(JOINT * n))
    student = Outputs(
        {"label": torch.tensor(PLAIN * n, requires_grad=True)}, features={PENULTIMATE: torch.zeros(2 * n, 1)}
    )
    raw = Batch({PIXELS: torch.rand(n, 1, 4, 4)}, {"label": torch.tensor(labels)}, torch.arange(n))
    return joint, student, halves.transform(raw)


def terms(joint: JointHead, student: Outputs, batch: Batch, temperature: float = 1.0) -> dict[str, Any]:
    objectives = (JointCrossEntropy(joint), HardCrossEntropy(), SelfDistillation(joint, temperature))
    found: dict[str, Any] = {}
    for objective in objectives:
        found |= objective(student, None, Target(), batch, AT)
    return found


def mean(term: Any) -> float:
    return term.loss[term.valid].mean().item()


def test_golden() -> None:
    torch.testing.assert_close(aggregate(torch.tensor(JOINT), 2), torch.tensor([[0.75, 1.35, 0]]))
    found = terms(*parts(1))
    assert mean(found["joint"]) == pytest.approx(1.021361, abs=1e-6)
    plain = mean(found["hard_ce"]) + mean(found["self_distill"])
    assert plain == pytest.approx(0.548100, abs=1e-6)
    assert mean(found["joint"]) + plain == pytest.approx(1.569460, abs=1e-6)


def test_the_answer_of_all_copies_is_the_mean_of_each_copys_own_scores() -> None:
    joint = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))  # B = 2, M = 3, C = 4
    expected = torch.stack(
        [
            torch.stack([sum(joint[3 * i + j, 3 * c + j] for j in range(3)) / 3 for c in range(4)])
            for i in range(2)
        ]
    )
    torch.testing.assert_close(aggregate(joint, 3), expected)


def test_rows_without_a_label_count_in_the_distillation_alone() -> None:
    found = terms(*parts(1, IGNORE))
    assert found["joint"].valid.tolist() == [True, True, False, False]
    assert found["hard_ce"].valid.tolist() == [True, False, False, False]
    assert found["self_distill"].valid.tolist() == [True, False, True, False]
    assert all(term.loss.shape == (4,) for term in found.values())


def test_what_teaches_is_constant_and_only_the_untransformed_row_learns() -> None:
    joint, student, batch = parts(1)
    found = SelfDistillation(joint, 2.0)(student, None, Target(), batch, AT)["self_distill"]
    found.loss[found.valid].sum().backward()
    assert joint.module.logits.grad is None
    grad = student.logits["label"].grad
    assert grad is not None
    q = (aggregate(joint.module.logits.detach(), 2) / 2).softmax(-1)
    p = (torch.tensor(PLAIN[:1]) / 2).softmax(-1)
    torch.testing.assert_close(grad[:1], 2.0 * (p - q))  # T^2 (p - q) / T
    assert grad[1].tolist() == [0, 0, 0]


def test_the_head_is_asked_once_a_batch() -> None:
    joint, student, batch = parts(1)
    assert joint(student, batch) is joint(student, batch)
    assert joint(student, replace(batch)) is not None
    assert joint.last is not None
    assert joint.last[0] is not batch


def images(height: int, width: int, channels: int) -> ImageClassifier:
    info = replace(toys.info(), image=ImageInfo(height, width, channels))
    net = toys.Mlp(pixels=height * width * channels)
    return ImageClassifier(Backbone(net, [0.5] * channels, [0.5] * channels), info)


def test_the_head_has_a_unit_for_each_class_and_copy() -> None:
    student = images(8, 8, 3)
    made = JointHead(TransformedCopies(4, 3)).make(student)
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features) == (16, 3 * 12)
    assert math.isclose(len(student.state_dict()), 6)  # its own layers and normalisation, no more


@pytest.mark.parametrize(
    ("size", "rotations", "colors", "said"),
    [
        ((8, 6, 1), 4, 1, r"options\.rotations: 4 found, but images are 8 x 6 pixels.*set rotations: 2"),
        ((8, 8, 1), 1, 3, r"options\.colors: 3 found, but images have 1 channel, expected 3"),
        ((8, 6, 3), 2, 6, None),
    ],
)
def test_images_that_cannot_be_transformed_so_are_refused(
    size: tuple[int, int, int], rotations: int, colors: int, said: str | None
) -> None:
    joint = JointHead(TransformedCopies(rotations, colors))
    if said is None:
        joint.make(images(*size))
        return
    with pytest.raises(UsageError, match=said):
        joint.make(images(*size))
