"""Scores of taggers by hand, against seqeval, and against a bootstrap written as it is defined."""

import math

import numpy as np
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from compactor_runtimes.predict.bio import spans
from compactor_runtimes.stats.metrics import Interval
from compactor_runtimes.stats.sequences import (
    bootstrap,
    exact_match,
    f1_interval,
    f1_of,
    relative_error_change,
    relative_error_interval,
    relative_f1_error_interval,
    slot_error_rate,
    span_counts,
)

# names with a dash and an I- that follows nothing, O or another name are among them
LABELS = ["O", "O", "B-a", "I-a", "B-b", "I-b", "B-date-time", "I-date-time"]
GOLD = ["O B-a I-a O B-b".split(), "O O".split(), "B-a I-a I-a".split()]
# a is whole, b was called c; an x too much; a is cut in two
PREDICTED = ["O B-a I-a O B-c".split(), "B-x O".split(), "B-a B-a I-a".split()]
COUNTS = [[1, 2, 2], [0, 1, 0], [0, 2, 1]]


def random_texts(rng, most=9):
    """Labels of up to 6 texts, and of the same texts with some of the labels changed."""
    gold = [rng.choice(LABELS, rng.integers(1, most)).tolist() for _ in range(rng.integers(1, 7))]
    said = [[str(rng.choice(LABELS)) if rng.random() < 0.3 else label for label in labels] for labels in gold]
    return said, gold


def test_spans_are_counted_by_text():
    assert span_counts(PREDICTED, GOLD).tolist() == COUNTS
    assert span_counts([], []).shape == (0, 3)
    assert f1_of(span_counts(PREDICTED, GOLD)) == pytest.approx(2 * 1 / (5 + 3))


def test_true_labels_may_be_such_as_nobody_predicts():
    assert span_counts([["B-a", "O"]], [["B-never-seen", "I-never-seen"]]).tolist() == [[0, 1, 1]]


def test_nothing_to_find_and_nothing_found_is_no_error():
    assert f1_of(span_counts([["O"]], [["O"]])) == 1
    assert f1_of(span_counts([["B-a"]], [["O"]])) == 0
    assert f1_of(span_counts([["O"]], [["B-a"]])) == 0


def test_spans_and_micro_f1_are_those_of_seqeval():
    rng = np.random.default_rng(0)
    for _ in range(500):
        said, gold = random_texts(rng)
        assert spans(said[0]) == [(name, first, last + 1) for name, first, last in get_entities(said[0])]
        counts = span_counts(said, gold)
        both, predicted, true = counts.sum(0)
        about = {"average": "micro", "zero_division": 1}
        assert f1_of(counts) == pytest.approx(f1_score(gold, said, **about), abs=1e-12)
        if predicted:
            assert both / predicted == pytest.approx(precision_score(gold, said, **about), abs=1e-12)
        if true:
            assert both / true == pytest.approx(recall_score(gold, said, **about), abs=1e-12)


@pytest.mark.parametrize("score", [span_counts, slot_error_rate, lambda *both: exact_match([True], *both)])
def test_other_texts_or_words_are_refused(score):
    with pytest.raises(ValueError, match="got labels of 1 texts, expected 2"):
        score([["O"]], [["O"], ["O"]])
    with pytest.raises(ValueError, match="text 1: got 2 labels, expected 1"):
        score([["O"], ["O", "O"]], [["O"], ["B-a"]])


def test_f1_interval_by_hand():
    # of two texts, one right and one wrong, a resample has F1 0 (1 in 4), 1/2 or 1 (1 in 4)
    assert f1_interval([[1, 1, 1], [0, 1, 1]]) == Interval(value=0.5, low=0.0, high=1.0, n=2)
    # texts that are all alike leave no doubt
    assert f1_interval([[1, 2, 2]] * 7) == Interval(value=0.5, low=0.5, high=0.5, n=7)
    assert f1_interval([[0, 0, 0]] * 3) == Interval(value=1.0, low=1.0, high=1.0, n=3)
    # 0 of 4 spans with one seed, 2 of 4 with the other: 2 * 2 / (4 + 4)
    seeds = f1_interval([[[0, 1, 1], [0, 1, 1]], [[1, 1, 1], [1, 1, 1]]])
    assert (seeds.value, seeds.low, seeds.high, seeds.n) == (0.5, 0.5, 0.5, 2)
    with pytest.raises(ValueError, match="got no texts"):
        f1_interval(np.zeros((0, 3)))


def by_definition(figure, sums, seed):
    """Draw N texts with replacement, as many times."""
    drawn = np.random.default_rng(seed).integers(0, len(sums), (10_000, len(sums)))
    return np.quantile(figure(sums[drawn].sum(1)), [0.025, 0.975])


def test_bootstrap_draws_texts_with_replacement():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 4, 120)
    sums = np.stack([rng.binomial(gold, 0.8), gold, gold], axis=1)

    def f1(drawn):
        return 2 * drawn[:, 0] / (drawn[:, 1] + drawn[:, 2])

    found = f1_interval(sums, seed=3)
    # between two bootstraps the quantiles of 10,000 differ by about 0.0005 here
    assert (found.low, found.high) == pytest.approx(by_definition(f1, sums, 4), abs=0.003)
    assert found.high - found.low > 0.05
    assert bootstrap(f1, sums, seed=3) == found
    assert bootstrap(f1, sums, seed=4) != found
    assert bootstrap(f1, sums, seed=3, resamples=1).n == 120


def test_slot_error_rate_by_hand():
    # a became c, d is too many, b is missing
    found = slot_error_rate(["B-c I-c B-d O".split()], ["B-a I-a O B-b".split()])
    assert found == Interval(value=1.5, low=1.5, high=1.5, n=1)
    # GOLD: b became c; x is too many; [0, 3) is missing, [0, 1) and [1, 3) are too many; 5 errors of 3 spans
    assert slot_error_rate(PREDICTED, GOLD).value == pytest.approx(5 / 3)
    assert slot_error_rate(GOLD, GOLD).value == 0
    with pytest.raises(ValueError, match="no span in the 1 true texts"):
        slot_error_rate([["B-a"]], [["O"]])


def test_exact_match_needs_the_intent_and_every_label():
    right = np.array([True, False, True, True])
    said = [["O", "B-a"], ["B-a"], ["B-a", "I-a"], []]
    gold = [["O", "B-a"], ["B-a"], ["I-a", "I-a"], []]  # the third has the same span, but another label
    assert exact_match(right, said, gold).tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match=r"got intents \(3,\), expected \(4,\)"):
        exact_match(right[:3], said, gold)


def test_relative_error_change_by_hand():
    assert relative_error_change(0.05, 0.04) == pytest.approx(0.25)
    assert relative_error_change(0.03, 0.04) == pytest.approx(-0.25)
    assert relative_error_change(0.0, 0.04) == -1
    assert relative_error_change(0.1, 0.0) is None


def wrong_on(*texts, n=10):
    right = np.ones(n, bool)
    right[list(texts)] = False
    return right


def test_relative_error_interval_by_hand():
    better = relative_error_interval(wrong_on(0, 1, 2), wrong_on(0, 1, 2, 3))
    assert (better.value, better.n) == (pytest.approx(-0.25), 10)
    assert -1 <= better.low < -0.25 < better.high <= 0
    worse = relative_error_interval(wrong_on(0, 1, 2, 3, 4), wrong_on(0, 1))
    assert worse.value == pytest.approx(1.5)
    assert relative_error_interval(wrong_on(3), wrong_on()) is None


def test_relative_error_is_paired_and_that_of_the_same_answers_is_0():
    """Also in resamples in which neither errs."""
    same = wrong_on(4)
    assert relative_error_interval(same, same) == Interval(value=0.0, low=0.0, high=0.0, n=10)
    counts = [[1, 1, 1]] * 9 + [[0, 1, 1]]
    assert relative_f1_error_interval(counts, counts) == Interval(value=0.0, low=0.0, high=0.0, n=10)


def test_relative_error_has_no_upper_bound_where_the_reference_hardly_errs():
    # the reference's only error is missing from 0.9^10 = 35% of the resamples
    found = relative_error_interval(wrong_on(0, 1), wrong_on(9))
    assert (found.value, found.high) == (1.0, math.inf)
    assert found.low == -1  # 11% of the resamples have none of ours


def test_relative_error_of_seeds_is_that_of_their_mean_error():
    ours = np.stack([wrong_on(0), wrong_on(0, 1, 2)])  # 2 errors on average
    theirs = np.stack([wrong_on(0, 1, 2, 3), wrong_on(0, 1, 2), wrong_on(0, 1, 2, 3, 4)])  # 4
    assert relative_error_interval(ours, theirs).value == pytest.approx(-0.5)
    assert relative_error_interval(ours[0], theirs).value == pytest.approx(-0.75)
    counts = np.array([[[1, 1, 1], [0, 1, 1]], [[1, 1, 1], [1, 1, 1]]])  # F1 of both seeds: 3 / 4
    assert relative_f1_error_interval(counts, [[1, 1, 1], [0, 1, 1]]).value == pytest.approx(-0.5)


def test_relative_f1_error_by_hand():
    # errors 1 - 2 * 6 / 20 = 0.4 and 1 - 2 * 8 / 20 = 0.2
    ours, theirs = [[2, 5, 5], [4, 5, 5]], [[4, 5, 5], [4, 5, 5]]
    found = relative_f1_error_interval(ours, theirs)
    assert found.value == pytest.approx(1.0)
    assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(2.0))  # twice the one or the other
    assert relative_f1_error_interval(ours, [[5, 5, 5], [5, 5, 5]]) is None


def test_relative_error_interval_is_that_of_the_definition():
    rng = np.random.default_rng(2)
    theirs = rng.random(600) > 0.15
    ours = theirs & (rng.random(600) > 0.05)
    wrong = np.stack([~ours, ~theirs], axis=1)
    found = relative_error_interval(ours, theirs)
    low, high = by_definition(lambda sums: sums[:, 0] / sums[:, 1] - 1, wrong, 5)
    # quantiles of two bootstraps differ by about 0.004 here
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


@pytest.mark.parametrize(
    ("compare", "first", "second"),
    [
        (relative_error_interval, [True], [True, False]),
        (relative_error_interval, [], []),
        (relative_f1_error_interval, [[1, 1, 1]], [[1, 1, 1], [0, 1, 1]]),
    ],
)
def test_other_texts_cannot_be_compared(compare, first, second):
    with pytest.raises(ValueError, match="texts, expected the same"):
        compare(first, second)
