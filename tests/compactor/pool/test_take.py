"""Taking: at most k of a class, its best, each image once, the same whatever the order of shards and ties."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from compactor.label_store.header import Head, Header, Payload, Transform, record_dtype
from compactor.label_store.quantization import compress, payload_of, recover
from compactor.pool.take import Scores, Taken, Taking, confidence_counts, read_scores
from compactor.recipe.spec import MOST_OF_A_CLASS, PoolTakeSpec

CLASSES = 5


def some(n: int, k: int = CLASSES, seed: int = 0, *, tied: bool = False) -> Scores:
    """Random distributions, sorted; with `tied` in eighths, so that many are equal."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(CLASSES, 0.5), n)
    if tied:
        p = np.round(p * 8) / 8
    order = np.argsort(-p, axis=1, kind="stable")[:, :k]
    return Scores(np.arange(n) * 3 + 1, order, np.take_along_axis(p, order, 1))


def take(scores: Scores, spec: PoolTakeSpec, parts: int = 1, seed: int | None = None) -> Taken:
    """Take part by part, in order or shuffled."""
    pieces = np.array_split(np.arange(len(scores.numbers)), parts)
    if seed is not None:
        np.random.default_rng(seed).shuffle(pieces)  # type: ignore[arg-type]
    taking = Taking(spec, CLASSES)
    for piece in pieces:
        taking.add(scores.only(np.isin(np.arange(len(scores.numbers)), piece)))
    return taking.result()


def by_hand(scores: Scores, top: int, places: int = 1) -> tuple[list[int], list[int]]:
    """The rule, in the plainest way: numbers and histogram."""
    found: set[int] = set()
    histogram = []
    for label in range(CLASSES):
        here = [
            (-scores.p[row, place], int(scores.numbers[row]))
            for row in range(len(scores.numbers))
            for place in range(places)
            if scores.classes[row, place] == label
        ]
        best = sorted(here)[:top]
        assert all(a[0] <= b[0] for a, b in pairwise(best))
        found |= {number for _, number in best}
        histogram.append(len(best))
    return sorted(found), histogram


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("places", [1, 2, 3])
@pytest.mark.parametrize("top", [1, 4, 30])
def test_the_best_of_each_class_are_taken_whatever_the_order(top: int, places: int, tied: bool) -> None:
    scores = some(120, tied=tied)
    spec = PoolTakeSpec(top=top, classes_per_image=places)
    expected, histogram = by_hand(scores, top, places)
    for taken in (take(scores, spec), take(scores, spec, 7), take(scores, spec, 11, seed=3)):
        assert taken.numbers.tolist() == expected
        assert taken.histogram.tolist() == histogram
        assert len(np.unique(taken.numbers)) == len(taken.numbers)
        assert max(histogram) <= top
    if places == 1:
        assert len(expected) == sum(histogram)


def test_of_equal_scores_the_lower_number_is_taken() -> None:
    scores = Scores(np.array([9, 2, 7, 4]), np.zeros((4, 1), dtype=np.int64), np.full((4, 1), 0.5))
    assert take(scores, PoolTakeSpec(top=2), 4, seed=1).numbers.tolist() == [2, 4]


def test_classes_with_fewer_images_give_what_they_have() -> None:
    scores = some(40)
    taken = take(scores, PoolTakeSpec(top=1000), 5)
    assert taken.numbers.tolist() == scores.numbers.tolist()
    assert taken.histogram.tolist() == np.bincount(scores.classes[:, 0], minlength=CLASSES).tolist()
    assert Taking(PoolTakeSpec(), CLASSES).top == MOST_OF_A_CLASS


def test_an_image_of_several_classes_is_in_the_pool_once() -> None:
    scores = Scores(np.array([0, 1]), np.array([[0, 1], [1, 0]]), np.array([[0.6, 0.4], [0.9, 0.1]]))
    taken = take(scores, PoolTakeSpec(top=2, classes_per_image=2))
    assert taken.numbers.tolist() == [0, 1]
    assert taken.histogram.tolist() == [2, 2, 0, 0, 0]


def test_by_confidence_all_that_are_sure_enough_are_taken() -> None:
    scores = some(100)
    sure = scores.p[:, 0] >= 0.7
    spec = PoolTakeSpec(by="confidence", min_confidence=0.7)
    assert take(scores, spec, 3).numbers.tolist() == scores.numbers[sure].tolist()
    capped = take(scores, PoolTakeSpec(by="confidence", min_confidence=0.7, top=3), 3)
    expected, histogram = by_hand(scores.only(sure), 3)
    assert (capped.numbers.tolist(), capped.histogram.tolist()) == (expected, histogram)
    assert take(scores, PoolTakeSpec(by="all"), 3).numbers.tolist() == scores.numbers.tolist()


@pytest.mark.parametrize("k", [1, 2, 3, CLASSES])
def test_scores_are_those_of_the_label_store(k: int) -> None:
    """Against the store's own reader, which works in float32; place 1 is the largest whatever was rounded."""
    torch.manual_seed(0)
    probabilities = torch.softmax(torch.randn(64, CLASSES) * 4, -1)
    probabilities[0] = torch.tensor([0.5, 0.5 - 1e-7, 0, 0, 1e-7])
    payload = payload_of("marginal-smoothing", k, CLASSES)
    header = Header(
        payload=payload,
        heads=[Head(name="label", num_classes=CLASSES)],
        boxes="none",
        transform=Transform(),
        teachers=[],
        classes={},
        data="",
        seed=0,
        precision="fp32",
        versions={},
        source_digest="",
        parts=[],
    )
    records = np.zeros(64, dtype=record_dtype(header))
    arrays = compress(probabilities, payload)
    for name, values in arrays.items():
        records[f"label.{name}"] = values
    found = read_scores(np.arange(64), records, payload, "label")
    tensors = {name: torch.from_numpy(np.asarray(values)) for name, values in arrays.items()}
    tensors = {"ids": tensors["ids"].long(), "p": tensors["p"].float()}
    known = recover(tensors, payload, CLASSES, "marginal-smoothing", k)
    assert known.ids is not None
    assert found.classes.tolist() == known.ids.tolist()
    np.testing.assert_allclose(found.p, known.p, atol=2e-6)
    np.testing.assert_allclose(found.p[:, 0], probabilities.max(-1).values, atol=2e-3)
    assert (found.p[:, :1] > found.p[:, 1:]).all()


def test_every_confidence_is_counted_once() -> None:
    counts = confidence_counts(np.array([0.0, 0.049, 0.05, 0.95, 1.0, 1 + 1e-9]))
    assert counts.sum() == 6
    assert (counts[0], counts[1], counts[-1]) == (2, 1, 3)


def test_only_what_may_still_be_taken_is_kept_in_memory() -> None:
    taking = Taking(PoolTakeSpec(top=3), CLASSES)
    for seed in range(20):
        taking.add(some(200, seed=seed))
        assert len(taking.numbers) <= 3 * CLASSES


def test_hard_labels_are_no_scores() -> None:
    with pytest.raises(AssertionError):
        read_scores(np.arange(1), np.zeros(1), Payload(kind="hard"), "label")
