"""Answers are judged against chance and for their order; good ones, on skewed data too, are left alone."""

import numpy as np
import pytest

from compactor.release.answers_check import balanced_accuracy, better_order, check_answers


def rows(n: int, classes: int, shares: list[float] | None = None, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(classes, n, p=shares)


def noisy(labels: np.ndarray, classes: int, wrong: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(rng.random(len(labels)) < wrong, other, labels)


def test_balanced_accuracy_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    value, low, high = balanced_accuracy(np.array([0, 0, 0, 1, 1]), labels, 3)
    assert value == pytest.approx((0.75 + 1) / 2)  # a class without rows does not count
    z2 = 2.3263478740408408**2
    p0, p1 = (3 + z2 / 2) / (4 + z2), (1 + z2 / 2) / (1 + z2)
    wide = 2.3263478740408408 * np.sqrt(p0 * (1 - p0) / 4 + p1 * (1 - p1)) / 2
    assert (low, high) == pytest.approx((value - wide, 1.0))


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("wrong", [0.0, 0.25, 0.5])
def test_a_teacher_that_is_right_more_often_is_fine(classes: int, wrong: float) -> None:
    if classes == 2 and wrong == 0.5:
        pytest.skip("that is chance")
    labels = rows(2000, classes)
    assert check_answers(noisy(labels, classes, wrong), labels, classes).verdict == "fine"


def test_a_good_teacher_on_skewed_data_is_fine() -> None:
    labels = rows(2000, 3, [0.95, 0.03, 0.02])
    assert check_answers(noisy(labels, 3, 0.1), labels, 3).verdict == "fine"


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_chance_is_found(classes: int) -> None:
    labels = rows(2000, classes)
    guessed = rows(2000, classes, seed=7)
    assert check_answers(guessed, labels, classes).verdict == "chance"
    assert check_answers(np.zeros_like(labels), labels, classes).verdict in ("chance", "other order")


def test_always_the_commonest_class_is_chance_however_often_it_is_right() -> None:
    labels = rows(2000, 2, [0.9, 0.1])
    found = check_answers(np.zeros_like(labels), labels, 2)
    assert (found.verdict, found.balanced) == ("chance", 0.5)


@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1), (0, 2, 1), (3, 2, 1, 0)])
def test_another_order_is_found_and_named(order: tuple[int, ...]) -> None:
    classes = len(order)
    labels = rows(400, classes)
    meant = noisy(labels, classes, 0.1)
    answered = np.argsort(order)[meant]  # who means class c says the place at which c stands in the order
    found = check_answers(answered, labels, classes)
    assert (found.verdict, found.order) == ("other order", order)
    assert found.reordered > 0.8 > found.accuracy


def test_few_rows_tell_nothing() -> None:
    labels = np.array([0, 1, 2])
    assert check_answers(np.array([1, 2, 0]), labels, 3).verdict == "too few rows"
    assert (
        check_answers(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 3).verdict == "too few rows"
    )


def test_rows_without_a_label_are_left_out() -> None:
    labels = np.array([0, 1, -100, 5] * 200)
    found = check_answers(np.array([0, 1, 1, 1] * 200), labels, 2)
    assert (found.n, found.verdict) == (400, "fine")


def test_where_every_answer_fits_its_own_class_best_the_order_is_the_answers_own() -> None:
    # in each half each class is right most often, or as often as the next one: a tie keeps the order
    labels = np.array([0, 0, 1, 1, 2, 2] * 10)
    answered = np.array([0, 1, 1, 1, 2, 0] * 10)
    order, own, other = better_order(answered, labels, 3)
    assert order is None
    assert own == other


def test_an_order_needs_seven_rows_to_beat_a_coin() -> None:
    labels = np.array([0, 1] * 6)
    assert better_order(1 - labels, labels, 2)[0] is None  # six of six: 1 in 64
    labels = np.array([0, 1] * 7)
    assert better_order(1 - labels, labels, 2)[0] == (1, 0)  # seven of seven: 1 in 128
