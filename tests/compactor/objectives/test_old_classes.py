"""What an old model says of its own classes, and the alignment of the rows of new ones."""

import math

import pytest
import torch
from torch import nn

from compactor.models.classifier import Backbone, ImageClassifier
from compactor.models.subclasses import widen
from compactor.objectives.old_classes import OldClassCrossEntropy, align_rows
from compactor.records import Batch, Outputs, Step, Target
from compactor_runtimes.errors import UsageError
from tests import toys

CIRCLE, SQUARE, STAR = toys.CLASSES
AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.arange(1))


def teacher(*classes: str) -> ImageClassifier:
    torch.manual_seed(1)
    own = toys.info(classes=list(classes))
    return ImageClassifier(Backbone(toys.Mlp(num_classes=len(classes)), [0.5], [0.5]), own)


def objective(*classes: str, weight: float | None = None, temperature: float = 2.0) -> OldClassCrossEntropy:
    found = OldClassCrossEntropy(temperature, weight)
    assert found.setup(toys.classifier(), [teacher(*classes)]) is None
    return found


def loss(found: OldClassCrossEntropy, student: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    terms = found(Outputs({"label": student}), Outputs({"label": said}), Target(), BATCH, AT)
    return terms["old_classes"].loss


def test_the_loss_by_hand() -> None:
    """T 2, teacher of star and circle with logits 2 ln 3 and 0: q = 3/4, 1/4; the student's are 0 and 2 ln 2.

    Its p is 1/3, 2/3, whatever it says of squares: 3/4 ln 3 + 1/4 ln 3/2.
    """
    found = objective(STAR, CIRCLE)
    student = torch.tensor([[2 * math.log(2), 99.0, 0.0]], dtype=torch.float64)
    said = torch.tensor([[2 * math.log(3), 0.0]])
    expected = 0.75 * math.log(3) + 0.25 * math.log(1.5)
    assert float(loss(found, student, said)) == pytest.approx(expected, abs=1e-6)


def test_its_gradient_is_the_difference_of_the_probabilities_over_t() -> None:
    """Once by T, because there is no T^2; none for the new class."""
    found = objective(STAR, CIRCLE, temperature=2.0)
    student = torch.tensor([[0.3, -1.0, 0.8]], requires_grad=True)
    said = torch.tensor([[1.0, -0.5]])
    loss(found, student, said).sum().backward()
    p, q = torch.softmax(student[:, [2, 0]] / 2, -1), torch.softmax(said / 2, -1)
    gap = (p - q) / 2
    expected = torch.stack([gap[0, 1], torch.tensor(0.0), gap[0, 0]])[None]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, expected.detach())


def test_its_share_is_that_of_the_old_classes() -> None:
    assert objective(STAR, CIRCLE).share == 2 / 3
    assert objective(SQUARE).share == 1 / 3
    assert objective(STAR, weight=0.25).share == 0.25


def test_alignment_by_hand_and_again() -> None:
    """Norms 5 and 5 of the old rows, 10 of the new: gamma is a half."""
    weight = torch.tensor([[6.0, 8.0], [3.0, 4.0], [0.0, 5.0]])
    assert align_rows(weight, torch.tensor([1, 2])) == 0.5
    assert weight.tolist() == [[3, 4], [3, 4], [0, 5]]
    assert align_rows(weight, torch.tensor([1, 2])) == 1
    assert align_rows(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([1])) == 1


def test_a_student_s_rows_are_aligned_and_nothing_else() -> None:
    found, student = objective(STAR, CIRCLE), toys.classifier(3)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    said = found.align(student)
    after = student.state_dict()
    old, new = before["backbone.head.weight"].norm(dim=1)[[0, 2]].mean(), before["backbone.head.weight"][1]
    gamma = old / new.norm()
    assert said.startswith(f"weights aligned: the rows of square are multiplied by gamma {gamma:.4f}")
    torch.testing.assert_close(after["backbone.head.weight"][1], gamma * new)
    before["backbone.head.weight"][1] = after["backbone.head.weight"][1]
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert "gamma 1.0000" in found.align(student)


def test_who_cannot_teach_or_learn_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a teacher of some of the data's classes"):
        objective(*toys.CLASSES)
    with pytest.raises(UsageError, match="the teacher knows moon, star"):
        objective("moon", STAR)
    student: nn.Module = toys.classifier()
    widen(student, 2, "toy")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is not one linear layer with a row for each class"):
        OldClassCrossEntropy(2.0, None).setup(student, [teacher(STAR)])
