"""DKD, weighted soft labels, Plackett-Luce: values by hand, gradients, what they become at their limits."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from compactor.objectives.divergences import Kl
from compactor.objectives.with_label import OtherClasses, PlackettLuce, TargetClass, WeightedSoftLabels
from compactor.records import Batch, Outputs, Soft, Target
from tests.compactor.objectives.formulas import (
    AT,
    S,
    T,
    Y,
    gradient,
    kl,
    numeric_gradient,
    of,
    softmax,
    terms,
    wave,
)

EVERY = [TargetClass, OtherClasses, WeightedSoftLabels, PlackettLuce]


def decoupled(s: Any, t: Any, y: int, temperature: float) -> tuple[float, float]:
    """TCKD and NCKD of one sample as the paper defines them, by probabilities and what is left of them."""
    p, q = (softmax([value / temperature for value in one]) for one in (s, t))
    tckd = kl([q[y], 1 - q[y]], [p[y], 1 - p[y]])
    rest = [[value / (1 - one[y]) for index, value in enumerate(one) if index != y] for one in (q, p)]
    return temperature**2 * tckd, temperature**2 * kl(*rest)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_both_parts_of_dkd_by_hand(temperature: float) -> None:
    expected = [decoupled(s, t, y, temperature) for s, t, y in zip(S.tolist(), T.tolist(), Y, strict=True)]
    for kind, values in zip((TargetClass, OtherClasses), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(of(kind(temperature), S, T, Y), torch.tensor(values), atol=1e-5, rtol=1e-5)


def test_hintons_loss_is_their_sum_with_the_others_weighed_by_the_teachers_doubt() -> None:
    """KL = TCKD + (1 - q_y) NCKD, the identity that DKD starts from."""
    doubt = 1 - (T / 3.0).softmax(-1).gather(-1, Y[:, None]).squeeze(-1).float()
    parts = of(TargetClass(3.0), S, T, Y) + doubt * of(OtherClasses(3.0), S, T, Y)
    torch.testing.assert_close(parts, of(Kl(3.0), S, T), atol=1e-5, rtol=1e-5)


def test_what_each_part_of_dkd_does_not_see() -> None:
    """The others' part does not move with the label's logit, the label's part not with the others' order."""
    moved = S.clone()
    moved[torch.arange(4), Y] += 5.0
    torch.testing.assert_close(of(OtherClasses(), moved, T, Y), of(OtherClasses(), S, T, Y))
    order = torch.tensor([2, 0, 1])  # of the classes but the label, which is class 0 here
    s, y = torch.tensor([[1.0, 0.5, -1.0, 2.0]]), torch.tensor([0])
    other = torch.cat([s[:, :1], s[:, 1:][:, order]], dim=-1)
    torch.testing.assert_close(of(TargetClass(), other, s, y), torch.zeros(1), atol=1e-6, rtol=0)
    assert of(OtherClasses(), other, s, y) > 0.1


def weighted(s: Any, t: Any, y: int, temperature: float) -> float:
    ours, theirs = -math.log(softmax(s)[y]), -math.log(softmax(t)[y])
    p, q = (softmax([value / temperature for value in one]) for one in (s, t))
    soft = -sum(a * math.log(b) for a, b in zip(q, p, strict=True))
    return (1 - math.exp(-ours / theirs)) * temperature**2 * soft


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_weighted_soft_labels_by_hand(temperature: float) -> None:
    expected = [weighted(s, t, y, temperature) for s, t, y in zip(S.tolist(), T.tolist(), Y, strict=True)]
    found = of(WeightedSoftLabels(temperature), S, T, Y)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_the_weight_of_a_soft_label_takes_no_gradient() -> None:
    """So the gradient is w T (p - q), that of Hinton's loss times w."""
    ours, theirs = (F.cross_entropy(one, Y, reduction="none") for one in (S, T))
    weight = 1 - torch.exp(-ours / theirs)
    gap = (S / 2).softmax(-1) - (T / 2).softmax(-1)
    expected = weight[:, None] * 2 * gap / len(S)
    torch.testing.assert_close(gradient(WeightedSoftLabels(2.0), S, T, Y), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("teacher", "weight"),
    # a teacher that is sure and right counts whole, one that gives the label nothing not at all
    [([40.0, 0.0, 0.0], 1.0), ([-200.0, 0.0, 0.0], 0.0)],
)
def test_weights_of_soft_labels_at_their_ends(teacher: list[float], weight: float) -> None:
    s, t, y = torch.tensor([[0.5, 1.0, -1.0]]), torch.tensor([teacher]), torch.tensor([0])
    soft = -(t.softmax(-1) * s.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(of(WeightedSoftLabels(), s, t, y), weight * soft, atol=2e-2, rtol=0)


GOLDEN = (torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[1.0, 3.0, 0.0, 2.0]]), torch.tensor([0]))


def test_plackett_luce_golden_value_and_gradient() -> None:
    """Order [0, 1, 3, 2]: the label, then the teacher's ranking."""
    assert of(PlackettLuce(), *GOLDEN).item() == pytest.approx(0.611912, abs=1e-6)
    found = gradient(PlackettLuce(), *GOLDEN)
    expected = torch.tensor([[-0.031031, -0.194913, 0.338354, -0.112410]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found.sum().item() == pytest.approx(0, abs=1e-6)


def listed(s: Any, t: Any, y: int, tau: float) -> float:
    order = [y, *sorted((c for c in range(len(t)) if c != y), key=lambda c: (-t[c], c))]
    q = softmax([value / tau for value in t])
    return sum(
        q[c] * (math.log(sum(math.exp(s[one]) for one in order[rank:])) - s[c])
        for rank, c in enumerate(order)
    )


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_plackett_luce_by_hand(tau: float) -> None:
    expected = [listed(s, t, y, tau) for s, t, y in zip(S.tolist(), T.tolist(), Y.tolist(), strict=True)]
    found = of(PlackettLuce(tau), S, T, Y)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_plackett_luce_of_a_sure_and_right_teacher_is_the_cross_entropy() -> None:
    sure = F.one_hot(Y, 5) * 200.0
    torch.testing.assert_close(
        of(PlackettLuce(), S, sure, Y), F.cross_entropy(S, Y, reduction="none").float()
    )


def test_plackett_luce_of_an_undecided_teacher_is_listmle_over_c() -> None:
    """The order is then the label and the others by class id: ties are broken so."""
    found = of(PlackettLuce(), S, torch.zeros_like(S), Y)
    for row, label, value in zip(S.tolist(), Y.tolist(), found, strict=True):
        ranked = [row[label], *(one for index, one in enumerate(row) if index != label)]
        log_likelihood = sum(
            one - math.log(sum(math.exp(other) for other in ranked[rank:])) for rank, one in enumerate(ranked)
        )
        assert value.item() == pytest.approx(-log_likelihood / 5, abs=1e-5)


def test_ties_are_broken_by_class_id_among_many_classes() -> None:
    """Where a sort that need not be stable would mix them: half of 1,000 classes are alike, half others."""
    s, t = wave(1, 1000, a=1.7, b=0.3), torch.zeros(1, 1000)
    t[0, ::2] = 1.0
    order = [7, *range(0, 1000, 2), *(c for c in range(1, 1000, 2) if c != 7)]
    tails = s[0, order].flip(0).logcumsumexp(0).flip(0)
    expected = (t.softmax(-1)[0, order] * (tails - s[0, order])).sum()
    assert of(PlackettLuce(), s, t, torch.tensor([7])).item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_in_the_tail_of_a_top_k_label_rank_by_class_id() -> None:
    """Two of five are kept; 0.2 is left for three, among them the label, which is first all the same."""
    soft = Soft(ids=torch.tensor([[3, 1]]), p=torch.tensor([[0.5, 0.3]]), tail=torch.tensor([0.2]))
    batch = Batch({}, {"label": torch.tensor([4])}, torch.arange(1))
    (term,) = PlackettLuce()(Outputs({"label": S[:1]}), None, Target({"label": soft}), batch, AT).values()
    s, q, order = S[0].tolist(), {4: 0.2 / 3, 3: 0.5, 1: 0.3, 0: 0.2 / 3, 2: 0.2 / 3}, [4, 3, 1, 0, 2]
    expected = sum(
        q[c] * (math.log(sum(math.exp(s[one]) for one in order[rank:])) - s[c])
        for rank, c in enumerate(order)
    )
    assert term.loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("tail", ["renormalised", "hard"])
def test_plackett_luce_and_weights_are_finite_on_labels_with_zeros(tail: str) -> None:
    ids, p = ([[3, 1]], [[0.7, 0.3]]) if tail == "renormalised" else ([[3]], [[1.0]])
    soft = Soft(ids=torch.tensor(ids), p=torch.tensor(p), tail=torch.tensor([0.0]))
    batch = Batch({}, {"label": torch.tensor([4])}, torch.arange(1))
    for kind in (PlackettLuce, WeightedSoftLabels):
        leaf = S[:1].clone().requires_grad_()
        (term,) = kind(2.0)(Outputs({"label": leaf}), None, Target({"label": soft}), batch, AT).values()
        (found,) = torch.autograd.grad(term.loss.sum(), leaf)
        assert torch.isfinite(term.loss).all()
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_are_those_of_the_values(kind: Any) -> None:
    """Central differences; of soft labels with the weight held, which the value does not hold."""
    if kind is WeightedSoftLabels:
        return
    found = gradient(kind(2.0), S, T, Y)
    torch.testing.assert_close(found, numeric_gradient(kind(2.0), S, T, Y), atol=2e-4, rtol=2e-3)
    torch.testing.assert_close(found.sum(-1), torch.zeros(4, dtype=found.dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", EVERY)
def test_a_constant_beside_the_logits_changes_nothing(kind: Any) -> None:
    torch.testing.assert_close(
        of(kind(2.0), S + 3.0, T - 7.0, Y), of(kind(2.0), S, T, Y), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", EVERY)
def test_items_without_a_label_do_not_count(kind: Any) -> None:
    labels = torch.tensor([1, -100, 0, -100])
    (term,) = terms(kind(), S, T, labels).values()
    assert term.valid.tolist() == [True, False, True, False]
    torch.testing.assert_close(term.loss[term.valid], of(kind(), S, T, Y)[term.valid])


@pytest.mark.parametrize("kind", EVERY)
def test_losses_are_per_item_and_named_by_head(kind: Any) -> None:
    logits = {"intent": torch.randn(2, 3), "slot": torch.randn(2, 4, 5)}
    target = Target({head: Soft(log_p=torch.randn_like(one).log_softmax(-1)) for head, one in logits.items()})
    labels = {"intent": torch.tensor([2, 0]), "slot": torch.tensor([[0, -100, 4, 1], [-100, 2, 3, -100]])}
    found = kind()(Outputs(logits), None, target, Batch({}, labels, torch.arange(2)), AT)
    name = kind.name
    assert {key: tuple(term.loss.shape) for key, term in found.items()} == {
        f"{name}.intent": (2,),
        f"{name}.slot": (2, 4),
    }
    slot = target.heads["slot"]
    assert isinstance(slot, Soft)
    assert slot.log_p is not None
    alone = of(kind(), logits["slot"][0, 2:3], slot.log_p[0, 2:3], torch.tensor([4]))
    torch.testing.assert_close(found[f"{name}.slot"].loss[0, 2], alone[0])


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_for_extreme_logits_in_half_precision(kind: Any, dtype: torch.dtype) -> None:
    s = torch.tensor([[80.0, -80.0, 0.0]], dtype=dtype)
    t, y = torch.tensor([[-80.0, 80.0, 0.0]]), torch.tensor([1])
    value = of(kind(), s, t, y)
    assert value.dtype == torch.float32
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient(kind(), s, t, y)).all()
