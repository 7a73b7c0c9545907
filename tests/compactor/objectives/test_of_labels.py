"""Losses where any number of labels may be true: both halves of each label, summed over labels."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.mixers.averages import MeanMixer
from compactor.objectives.divergences import DIVERGENCES, Kl
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch, Outputs, Soft, Step, Target
from compactor.targets.live_teacher import LiveTeacher
from compactor_runtimes.errors import UsageError

AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.zeros(2, dtype=torch.int64))
STUDENT = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]])
TEACHER = torch.tensor([[1.5, -2.0, 0.0], [0.3, 1.0, -0.5]])


def loss(name: str, student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    target = Target({"labels": Soft(log_p=teacher)})
    objective = DIVERGENCES[name](temperature)
    (term,) = objective(Outputs({"labels": student}), None, target, BATCH, AT).values()
    assert term.valid is None
    return term.loss


def expected(name: str, student: Tensor, teacher: Tensor) -> Tensor:
    """The formulas as they are written, in float64."""
    p, q = student.double().sigmoid(), teacher.double().sigmoid()

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()

    m = (p + q) / 2
    return {
        "kl": kl(q, p),
        "sym_kl": 0.5 * (kl(q, p) + kl(p, q)),
        "js": 0.5 * (kl(q, m) + kl(p, m)),
        "soft_ce": -(q * p.log() + (1 - q) * (1 - p).log()),
    }[name].sum(-1)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_is_summed_over_labels_yes_and_no(name: str) -> None:
    found = loss(name, STUDENT, TEACHER)
    assert found.shape == (2,)
    torch.testing.assert_close(found.double(), expected(name, STUDENT, TEACHER), atol=1e-6, rtol=1e-5)


def test_by_hand() -> None:
    """Of q = 0.8 and p = 0.5: KL(q||p) = 0.8 ln 1.6 + 0.2 ln 0.4, KL(p||q) = ln(0.5 / sqrt(0.16))."""
    q, p = torch.full((1, 2), math.log(4.0)), torch.zeros(1, 2)
    forward, back = 0.8 * math.log(1.6) + 0.2 * math.log(0.4), math.log(1.25)
    assert loss("kl", p, q).item() == pytest.approx(2 * forward, abs=1e-6)
    assert loss("sym_kl", p, q).item() == pytest.approx(forward + back, abs=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("far", [80.0, -80.0])
def test_logits_far_out_are_finite_and_have_gradients(name: str, far: float) -> None:
    for other in (far, -far, 0.0):
        student = torch.full((1, 1), far, requires_grad=True)
        found = loss(name, student, torch.full((1, 1), other))
        found.sum().backward()
        assert found.isfinite().all()
        assert student.grad is not None
        assert student.grad.isfinite().all()
    assert loss("kl", torch.full((1, 1), far), torch.full((1, 1), -far)).item() == pytest.approx(80)


def test_a_tempered_target_is_the_sigmoid_of_the_divided_logits() -> None:
    found = loss("kl", STUDENT, TEACHER, temperature=4.0)
    torch.testing.assert_close(
        found.double(), 16 * expected("kl", STUDENT / 4, TEACHER / 4), atol=1e-5, rtol=1e-5
    )


def test_the_same_student_and_teacher_are_not_apart() -> None:
    for name in ("kl", "sym_kl", "js"):
        assert loss(name, TEACHER, TEACHER).abs().max() < 1e-6


def test_labels_cost_their_binary_cross_entropy_summed_over_labels() -> None:
    labels = torch.tensor([[1, 0, 1], [-100, -100, -100]])
    batch = Batch({}, {"labels": labels}, torch.zeros(2, dtype=torch.int64))
    student = Outputs({"labels": STUDENT})
    (term,) = HardCrossEntropy()(student, None, Target(), batch, AT).values()
    first = F.binary_cross_entropy_with_logits(STUDENT[0], labels[0].float(), reduction="sum")
    assert term.loss.tolist() == [pytest.approx(first.item(), abs=1e-6), 0.0]
    assert term.valid is not None
    assert term.valid.tolist() == [True, False]
    (smooth,) = HardCrossEntropy(0.2)(student, None, Target(), batch, AT).values()
    targets = torch.tensor([0.9, 0.1, 0.9])
    first = F.binary_cross_entropy_with_logits(STUDENT[0], targets, reduction="sum")
    assert smooth.loss[0].item() == pytest.approx(first.item(), abs=1e-6)


def test_labels_are_not_weighed() -> None:
    batch = Batch({}, {"labels": torch.tensor([[1, 0]])}, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UsageError, match="any number of labels"):
        HardCrossEntropy(class_weights="balanced").fit(None, iter([batch]))


def test_teachers_are_averaged_in_their_probabilities_label_by_label() -> None:
    one, other = torch.tensor([[0.0, 80.0, -80.0]]), torch.tensor([[math.log(3.0), 80.0, 80.0]])
    mixed = MeanMixer([3.0, 1.0])([Outputs({"labels": one}), Outputs({"labels": other})])
    assert mixed.log_probs is not None
    p = mixed.log_probs["labels"].double().sigmoid()
    torch.testing.assert_close(p, torch.tensor([[0.75 * 0.5 + 0.25 * 0.75, 1.0, 0.25]]).double())
    assert mixed.log_probs["labels"][0, 1].item() == pytest.approx(80)  # 1-p did not underflow
    torch.testing.assert_close(mixed.logits["labels"], 0.75 * one + 0.25 * other)
    alone = MeanMixer()([Outputs({"labels": one})])
    assert alone.log_probs is not None
    assert torch.equal(alone.log_probs["labels"], one)


def test_live_targets_are_the_mean_probabilities_or_the_mean_logits() -> None:
    outputs = [Outputs({"labels": one}) for one in (STUDENT, TEACHER)]
    mixed = MeanMixer()(outputs)
    for average, wanted in (
        ("probabilities", (STUDENT.sigmoid() + TEACHER.sigmoid()) / 2),
        ("logits", ((STUDENT + TEACHER) / 2).sigmoid()),
    ):
        soft = LiveTeacher(average).make(BATCH, mixed, AT).heads["labels"]  # type: ignore[arg-type]
        assert isinstance(soft, Soft)
        assert soft.log_p is not None
        torch.testing.assert_close(soft.log_p.sigmoid(), wanted)


def test_heads_of_both_kinds_have_terms_of_their_own() -> None:
    target = Target({"labels": Soft(log_p=TEACHER), "label": Soft(log_p=TEACHER.log_softmax(-1))})
    found = Kl()(Outputs({"labels": STUDENT, "label": STUDENT}), None, target, BATCH, AT)
    assert {name: term.loss.shape for name, term in found.items()} == {"kl.labels": (2,), "kl.label": (2,)}
    assert not torch.allclose(found["kl.labels"].loss, found["kl.label"].loss)
