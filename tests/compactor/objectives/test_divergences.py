"""Golden values: float64 numbers of the specifications, computed independently; tolerance 1e-6."""

import math

import pytest
import torch
from torch import Tensor

from compactor.mixers.averages import MeanMixer
from compactor.objectives.divergences import JensenShannon, Kl, SoftCrossEntropy, SymmetricKl
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch, Outputs, Soft, Step, Target

STUDENT, TEACHER = [1.0, 2.0, 0.5, -1.0], [2.0, 0.0, 1.0, -0.5]
AT = Step(0, 1, 0, 1)
BATCH = Batch({}, {}, torch.zeros(1, dtype=torch.int64))
SOFT = [SoftCrossEntropy, Kl, SymmetricKl, JensenShannon]


def loss(objective: object, student: list[float] | Tensor, teacher: list[float] | Tensor) -> Tensor:
    s = torch.as_tensor(student, dtype=torch.float32).reshape(1, -1) if isinstance(student, list) else student
    t = torch.as_tensor(teacher, dtype=torch.float32).reshape(1, -1) if isinstance(teacher, list) else teacher
    target = Target({"label": Soft(log_p=t.log_softmax(-1))})
    (term,) = objective(Outputs({"label": s}), None, target, BATCH, AT).values()  # type: ignore[operator]
    return term.loss


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Kl(), 0.6363839468),
        (SymmetricKl(), 0.7567608614),
        (JensenShannon(), 0.1694700738),
        (SoftCrossEntropy(), 1.6293990631),
        (Kl(temperature=2.0), 0.7008181937),
    ],
)
def test_golden_values(objective: object, expected: float) -> None:
    assert loss(objective, STUDENT, TEACHER).item() == pytest.approx(expected, abs=1e-6)


def test_reverse_kl_is_the_swapped_one() -> None:
    assert loss(Kl(), TEACHER, STUDENT).item() == pytest.approx(0.8771377760, abs=1e-6)


def test_symmetric_kl_gradient() -> None:
    s = torch.tensor([STUDENT], requires_grad=True)
    loss(SymmetricKl(), s, TEACHER).sum().backward()
    expected = [-0.4175856622, 0.5937301236, -0.1440112157, -0.0321332456]
    assert s.grad is not None
    torch.testing.assert_close(s.grad[0], torch.tensor(expected), atol=1e-6, rtol=0)
    assert s.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_hinton_kl_gradient_has_the_factor_t_and_soft_ce_the_factor_one_over_t() -> None:
    """d/ds T^2 KL = T (p - q); d/ds CE = (p - q) / T (FKD: no T^2)."""
    temperature = 3.0
    s, t = torch.tensor([STUDENT], requires_grad=True), torch.tensor([TEACHER])
    gap = (s.detach() / temperature).softmax(-1) - (t / temperature).softmax(-1)
    for objective, factor in (
        (Kl(temperature), temperature),
        (SoftCrossEntropy(temperature), 1 / temperature),
    ):
        (gradient,) = torch.autograd.grad(loss(objective, s, t).sum(), s)
        torch.testing.assert_close(gradient, factor * gap, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", SOFT)
def test_zero_gradient_iff_equal_up_to_a_constant(kind: type) -> None:
    s = torch.tensor([TEACHER]) + 7.0
    s.requires_grad_()
    value = loss(kind(), s, TEACHER)
    (gradient,) = torch.autograd.grad(value.sum(), s)
    assert gradient.abs().max().item() < 1e-6
    entropy = -(torch.tensor(TEACHER).softmax(-1) * torch.tensor(TEACHER).log_softmax(-1)).sum().item()
    assert value.item() == pytest.approx(entropy if kind is SoftCrossEntropy else 0.0, abs=1e-6)


def test_symmetry_and_bound() -> None:
    for kind in (SymmetricKl, JensenShannon):
        assert loss(kind(), STUDENT, TEACHER).item() == pytest.approx(
            loss(kind(), TEACHER, STUDENT).item(), abs=1e-6
        )
    assert loss(JensenShannon(), [60.0, 0.0], [0.0, 60.0]).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", SOFT)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_for_extreme_logits_in_half_precision(kind: type, dtype: torch.dtype) -> None:
    s = torch.tensor([[80.0, -80.0, 0.0]], dtype=dtype, requires_grad=True)
    value = loss(kind(), s, torch.tensor([[-80.0, 80.0, 0.0]]))
    (gradient,) = torch.autograd.grad(value.sum(), s)
    assert value.dtype == torch.float32
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


def test_losses_are_per_item_for_batches_and_tokens() -> None:
    s, t = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    for kind in SOFT:
        found = loss(kind(), s, t)
        assert found.shape == (2, 5)
        torch.testing.assert_close(found[1, 3], loss(kind(), s[1, 3:4], t[1, 3:4])[0])


def test_two_heads_give_two_named_terms() -> None:
    """The seam of joint intent and slots: one target a head, losses [B] and [B, L]."""
    logits = {"intent": torch.randn(2, 3), "slot": torch.randn(2, 5, 4)}
    target = Target(
        {head: Soft(log_p=torch.randn_like(value).log_softmax(-1)) for head, value in logits.items()}
    )
    terms = Kl()(Outputs(logits), None, target, BATCH, AT)
    assert {name: tuple(term.loss.shape) for name, term in terms.items()} == {
        "kl.intent": (2,),
        "kl.slot": (2, 5),
    }
    labels = {"intent": torch.tensor([0, -100]), "slot": torch.full((2, 5), -100)}
    terms = HardCrossEntropy()(Outputs(logits), None, Target(), Batch({}, labels, torch.arange(2)), AT)
    assert terms["hard_ce.intent"].valid is not None
    assert terms["hard_ce.intent"].valid.tolist() == [True, False]
    assert terms["hard_ce.slot"].valid is not None
    assert not terms["hard_ce.slot"].valid.any()


def test_hard_cross_entropy_by_hand() -> None:
    """-log softmax([ln 3, 0])[0] = ln 4/3; with eps 0.2 the target is [0.9, 0.1]."""
    student = Outputs({"label": torch.tensor([[math.log(3.0), 0.0]])})
    batch = Batch({}, {"label": torch.tensor([0])}, torch.arange(1))
    plain = HardCrossEntropy()(student, None, Target(), batch, AT)["hard_ce"].loss
    smooth = HardCrossEntropy(0.2)(student, None, Target(), batch, AT)["hard_ce"].loss
    assert plain.item() == pytest.approx(math.log(4 / 3), abs=1e-6)
    assert smooth.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), abs=1e-6)


def test_top_k_target_recovers_marginal_smoothing() -> None:
    """FKD's golden record: k=3 of 10 classes, tail 0.020439 for each of the other 7."""
    p = torch.tensor([3, 2.5, 1, 0.2, 0, 0, -0.1, -0.3, -0.5, -1]).softmax(-1)
    head, ids = p.topk(3)
    smoothed = Soft(ids=ids.to(torch.uint8), p=head, tail=1 - head.sum())
    dense = smoothed.dense_log_p(10).exp()
    torch.testing.assert_close(dense[:3], torch.tensor([0.491958, 0.298387, 0.066579]), atol=1e-6, rtol=0)
    torch.testing.assert_close(dense[3:], torch.full((7,), 0.020439), atol=1e-6, rtol=0)
    kl = loss(Kl(), smoothed.dense_log_p(10)[None], p.log()[None])
    assert kl.item() == pytest.approx(0.00777146, abs=1e-6)


def test_renormalised_target_has_no_tail_and_a_finite_cross_entropy() -> None:
    soft = Soft(ids=torch.tensor([[2, 0]]), p=torch.tensor([[0.75, 0.25]]), tail=torch.tensor([0.0]))
    s = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    terms = SoftCrossEntropy()(Outputs({"label": s}), None, Target({"label": soft}), BATCH, AT)
    (gradient,) = torch.autograd.grad(terms["soft_ce"].loss.sum(), s)
    torch.testing.assert_close(gradient, s.softmax(-1) - torch.tensor([[0.25, 0.0, 0.75]]), atol=1e-6, rtol=0)


def test_a_full_top_k_record_recovers_the_distribution_exactly() -> None:
    p = torch.tensor([0.7, 0.2, 0.1])
    soft = Soft(ids=torch.tensor([0, 1, 2]), p=p, tail=torch.tensor(-1e-7))
    torch.testing.assert_close(soft.dense_log_p(3), p.log())


def test_mixer_holds_both_means() -> None:
    """MEAL V2's golden ensemble: the mean of softmaxes is not the softmax of the mean logits."""
    teachers = [Outputs({"label": torch.tensor([logits])}) for logits in ([2.0, 0.0, -1.0], [0.0, 3.0, 0.0])]
    mixed = MeanMixer()(teachers)
    assert mixed.log_probs is not None
    expected = torch.tensor([[0.44453662, 0.51181910, 0.04364428]])
    torch.testing.assert_close(mixed.log_probs["label"].exp(), expected, atol=1e-6, rtol=0)
    expected = torch.tensor([[0.34820743, 0.57409699, 0.07769558]])
    torch.testing.assert_close(mixed.logits["label"].softmax(-1), expected, atol=1e-6, rtol=0)
    student = Outputs({"label": torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)})
    target = Target({"label": Soft(log_p=mixed.log_probs["label"])})
    value = SoftCrossEntropy()(student, None, target, BATCH, AT)["soft_ce"].loss
    assert value.item() == pytest.approx(0.90563909, abs=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), student.logits["label"])
    torch.testing.assert_close(
        gradient, torch.tensor([[-0.02221782, -0.08950030, 0.11171812]]), atol=1e-6, rtol=0
    )


def test_weighted_mixer_by_hand() -> None:
    """Weights 3:1 of softmax([0, 0]) = [1/2, 1/2] and softmax([ln 3, 0]) = [3/4, 1/4]."""
    teachers = [
        Outputs({"label": torch.tensor([[0.0, 0.0]])}),
        Outputs({"label": torch.tensor([[math.log(3), 0.0]])}),
    ]
    mixed = MeanMixer([3.0, 1.0])(teachers)
    assert mixed.log_probs is not None
    torch.testing.assert_close(mixed.log_probs["label"].exp(), torch.tensor([[0.5625, 0.4375]]))
    torch.testing.assert_close(mixed.logits["label"], torch.tensor([[math.log(3) / 4, 0.0]]))
