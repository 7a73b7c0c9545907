"""FKD's quantisations: golden values 10 to 12 of the specification, and what must hold of any teacher."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compactor.data.spec import Quantization
from compactor.label_store.header import Payload
from compactor.label_store.quantization import compress, payload_of, recover
from compactor_runtimes.errors import UsageError

GOLDEN = torch.tensor([3, 2.5, 1, 0.2, 0, 0, -0.1, -0.3, -0.5, -1])
# float16 rounds numbers below 1 down by less than one unit in the last place, 2^-10 of them
HALF = 2.0**-10
# sums of at most 12 float32 numbers that add up to 1: each rounds by at most 2^-24
FLOAT = 12 * 2.0**-24
# of two that tie the first is lifted by 2^-20 of it, and it is at most one half then
LIFT = 2.0**-21


def stored(p: Tensor, payload: Payload) -> dict[str, Tensor]:
    """Through a record and back: ids and p as a store reads them."""
    found = {name: torch.from_numpy(values) for name, values in compress(p, payload).items()}
    return {name: value.float() if name == "p" else value for name, value in found.items()}


def read(p: Tensor, payload: Payload, quantization: Quantization, k: int = 5) -> Tensor:
    """The recovered distribution [..., C]."""
    soft = recover(stored(p, payload), payload, p.shape[-1], quantization, k)
    return soft.dense_log_p(p.shape[-1]).exp()


def top(k: int, probabilities: str = "float32") -> Payload:
    return payload_of("marginal-smoothing", k, 10_000, probabilities=probabilities)


def kl(p: Tensor, q: Tensor) -> float:
    return float(torch.where(p > 0, p * (p / q).log(), 0.0).sum())


@pytest.mark.parametrize(("probabilities", "relative"), [("float32", 0.0), ("float16", HALF)])
def test_golden_values(probabilities: str, relative: float) -> None:
    """Invariant 10; what float16 takes from the others (at most 2^-10 of them) goes to the largest."""
    p = GOLDEN.softmax(-1)
    payload = top(3, probabilities)
    others = 1 - 0.491958
    smoothed = read(p, payload, "marginal-smoothing", 3)
    expected = torch.tensor([0.491958, 0.298387, 0.066579] + [0.020439] * 7)
    assert smoothed[0].item() == pytest.approx(0.491958, abs=1e-6 + relative * others)
    torch.testing.assert_close(smoothed[1:], expected[1:], atol=1e-6, rtol=relative)
    renormed = read(p, payload, "marginal-renorm", 3)
    torch.testing.assert_close(
        renormed[:3], torch.tensor([0.574097, 0.348207, 0.077696]), atol=1e-6 + 2 * relative, rtol=0
    )
    assert not renormed[3:].any()
    smoothing = read(p, payload, "smoothing")
    torch.testing.assert_close(
        smoothing, torch.tensor([0.491958] + [0.056449] * 9), atol=1e-6 + relative * others, rtol=0
    )
    for q in (smoothed, renormed, smoothing):
        assert q.sum().item() == pytest.approx(1, abs=FLOAT)


def test_golden_divergences() -> None:
    """Invariant 10: KL(p || MS) and KL(p || smoothing) in float32; re-normalising gives classes no mass."""
    p = GOLDEN.softmax(-1)
    assert kl(p, read(p, top(3), "marginal-smoothing", 3)) == pytest.approx(0.00777146, abs=1e-6)
    assert kl(p, read(p, top(3), "smoothing")) == pytest.approx(0.37024377, abs=1e-6)
    assert kl(p, read(p, top(3), "marginal-renorm", 3)) == float("inf")


def test_hard_is_the_teachers_largest_class_whatever_is_kept() -> None:
    """Invariant 12: the ground truth never enters, so a teacher that errs is followed."""
    p = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    expected = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    for payload in (Payload(kind="hard"), Payload(kind="full"), top(1), top(2, "float16")):
        assert torch.equal(read(p, payload, "hard"), expected)


def test_full_labels_come_back_bit_for_bit() -> None:
    """Also probabilities below float16's smallest number."""
    p = torch.tensor([[30.0, 10.0, 0.0, -20.0]]).softmax(-1)
    soft = recover(stored(p, Payload(kind="full")), Payload(kind="full"), 4, "full", 5)
    assert soft.log_p is not None
    assert torch.equal(soft.log_p, p.log())


@pytest.mark.parametrize("kind", ["full", "top-k"])
def test_full_labels_read_as_top_k_equal_stored_top_k(kind: str) -> None:
    p = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)).mul(4).softmax(-1)
    payload = Payload(kind="full") if kind == "full" else top(7)
    for quantization in ("marginal-smoothing", "marginal-renorm", "smoothing"):
        torch.testing.assert_close(
            read(p, payload, quantization, 4), read(p, top(4), quantization, 4), atol=FLOAT, rtol=0
        )


LOGITS = st.integers(2, 12).flatmap(
    lambda classes: st.lists(
        st.one_of(
            st.floats(-5, 5, width=32),
            st.floats(-100, 100, width=32),
            st.sampled_from([0.0, 1.0, 1.0 + 2**-20]),
        ),
        min_size=classes,
        max_size=classes,
    )
)


@settings(deadline=None, max_examples=150)
@given(logits=LOGITS, data=st.data())
@pytest.mark.parametrize("probabilities", ["float32", "float16"])
def test_smoothed_labels_of_any_teacher(probabilities: str, logits: list[float], data: st.DataObject) -> None:
    """Invariant 11, with near ties and with teachers that are as good as certain."""
    p = torch.tensor(logits).log_softmax(-1).exp()
    classes = len(logits)
    k = data.draw(st.integers(1, classes))
    payload = top(k, probabilities)
    soft = recover(stored(p, payload), payload, classes, "marginal-smoothing", k)
    assert soft.p is not None
    assert soft.tail is not None
    q = soft.dense_log_p(classes).exp()
    assert q.sum().item() == pytest.approx(1, abs=FLOAT + LIFT)
    assert bool((q >= 0).all())
    # log and exp may lose one float32 unit in the last place, of the log: the smallest number's is 2^-24
    rounding = 1 + 2.0**-20
    if k < classes:
        assert soft.tail.item() >= 0
        if probabilities == "float16":
            assert soft.tail.item() > 0
        # the head's smallest is rounded down to float16, the tail's mass too but as a sum over classes
        slack = HALF if probabilities == "float16" else FLOAT
        spread = soft.tail.item() / (classes - k)
        assert spread <= soft.p.min().item() * (1 + slack) * rounding + FLOAT
    assert p[q.argmax()].item() * rounding >= p.max().item()  # classes that are nearer than that are tied
    if probabilities == "float16":
        assert kl(p, q) < float("inf")
        slack = HALF
    else:
        slack = 0.0
    if k >= classes - 1:
        torch.testing.assert_close(q, p, atol=FLOAT + LIFT + slack, rtol=slack)


@settings(deadline=None, max_examples=60)
@given(logits=LOGITS)
def test_more_classes_kept_are_never_further_from_the_teacher(logits: list[float]) -> None:
    """Invariant 11: the L1 distance does not grow with k; nor does it matter how many were stored."""
    p = torch.tensor(logits).softmax(-1)
    classes = len(logits)
    distances = [
        (read(p, top(classes), "marginal-smoothing", k) - p).abs().sum().item() for k in range(1, classes + 1)
    ]
    for nearer, further in zip(distances[1:], distances, strict=False):
        assert nearer <= further + 2 * FLOAT + LIFT
    assert distances[-1] <= 2 * FLOAT + LIFT
    assert distances[-2] <= 2 * FLOAT + LIFT


@settings(deadline=None, max_examples=60)
@given(logits=LOGITS, data=st.data())
def test_renormalised_labels_of_a_smoothed_record_are_those_of_the_teacher(
    logits: list[float], data: st.DataObject
) -> None:
    """Invariant 11: p_c / sum over the k largest (sorted, as which of the equal ones are kept is free)."""
    p = torch.tensor(logits).softmax(-1)
    k = data.draw(st.integers(1, len(logits)))
    head = p.topk(k).values
    expected = torch.cat([head / head.sum(), torch.zeros(len(logits) - k)])
    found = read(p, top(len(logits)), "marginal-renorm", k).sort(descending=True).values
    # the k largest of at most 12 classes hold at least k/12, so dividing magnifies rounding at most 12 times
    torch.testing.assert_close(found, expected, atol=12 * FLOAT, rtol=0)
    assert found.sum().item() == pytest.approx(1, abs=FLOAT)


def test_float16_loses_no_class_of_a_certain_teacher() -> None:
    """1000 classes, all but one below float16's 6e-8: cross-entropies to the label stay finite."""
    logits = torch.zeros(1, 1000)
    logits[0, 3] = 60.0
    p = logits.log_softmax(-1).exp()
    q = read(p, top(5, "float16"), "marginal-smoothing", 5)
    assert bool((q > 0).all())
    # four places and the tail of 2^-24 each are all that can be taken from the largest
    assert 1 - q[0, 3].item() <= 5 * 2.0**-24 + FLOAT
    assert kl(p, q) < 1e-5


def test_float16_never_makes_a_tail_negative() -> None:
    """FKD's own float16 files have 13% of them; here none, and each keeps its mass within 2^-10."""
    p = torch.randn(2000, 100, generator=torch.Generator().manual_seed(1)).mul(8).softmax(-1)
    payload = top(5, "float16")
    tail = recover(stored(p, payload), payload, 100, "marginal-smoothing", 5).tail
    assert tail is not None
    exact = p.double().sort(-1).values[:, :-5].sum(-1)
    assert bool((tail > 0).all())
    # below 2^-14 float16 is evenly spaced by 2^-24
    torch.testing.assert_close(tail.double(), exact, rtol=HALF, atol=2.0**-24)


@pytest.mark.parametrize("probabilities", ["float16", "float32"])
def test_equal_classes_keep_their_order(probabilities: str) -> None:
    """Ties, also of several hundred classes whose sum is not exactly 1 in float32."""
    for classes in (2, 3, 7, 10, 100, 999):
        p = torch.zeros(classes).softmax(-1)
        for k in (1, 2, 5):
            payload = top(min(k, classes), probabilities)
            soft = recover(stored(p, payload), payload, classes, "marginal-smoothing", k)
            assert soft.ids is not None
            log_p = soft.dense_log_p(classes)
            assert log_p[soft.ids[0]] >= log_p.max() - classes * FLOAT, (classes, k)
            if k > 1:
                assert log_p.argmax() == soft.ids[0], (classes, k)


@pytest.mark.parametrize(
    ("payload", "quantization", "k"),
    [
        (Payload(kind="hard"), "smoothing", 1),
        (Payload(kind="hard"), "full", 1),
        (Payload(kind="hard"), "marginal-renorm", 1),
        (top(3), "marginal-smoothing", 4),
        (top(3), "marginal-renorm", 5),
        (top(3), "full", 1),
    ],
)
def test_what_a_record_does_not_hold_cannot_be_read(
    payload: Payload, quantization: Quantization, k: int
) -> None:
    p = GOLDEN.softmax(-1)
    what = "the largest class alone" if payload.kind == "hard" else "the 3 largest classes"
    with pytest.raises(UsageError, match=rf"{quantization} labels .*were asked for, but it holds {what}"):
        read(p, payload, quantization, k)


def test_k_larger_than_the_number_of_classes_means_all_of_them() -> None:
    assert payload_of("marginal-smoothing", 5, 3) == Payload(kind="top-k", k=3)
    assert payload_of("smoothing", 5, 3) == Payload(kind="top-k", k=1)
    assert payload_of("hard", 5, 3) == Payload(kind="hard")
    assert payload_of("full", 5, 3) == Payload(kind="full")
    p = torch.tensor([0.25, 0.5, 0.25])
    assert torch.equal(read(p, payload_of("marginal-smoothing", 5, 3), "marginal-smoothing", 5), p)


@pytest.mark.parametrize(
    "quantization", ["marginal-smoothing", "marginal-renorm", "smoothing", "hard", "full"]
)
def test_heads_of_token_positions(quantization: Quantization) -> None:
    """[B, L, C]: each position by itself."""
    p = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).softmax(-1)
    payload = payload_of(quantization, 2, 6, probabilities="float32")
    found = read(p, payload, quantization, 2)
    assert found.shape == p.shape
    alone = torch.stack([read(one, payload, quantization, 2) for one in p.flatten(0, 1)])
    assert torch.equal(found.flatten(0, 1), alone)
