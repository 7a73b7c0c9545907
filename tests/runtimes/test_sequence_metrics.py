"""Scores of taggers by hand, and spans against seqeval."""

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from compactor_runtimes.sequence_metrics import (
    bootstrap,
    exact_match,
    f1_interval,
    f1_of,
    relative_error_change,
    span_counts,
)
from compactor_runtimes.slots import spans

GOLD = [["O", "B-a", "I-a", "O"], ["B-b", "O"], ["O"]]
SAID = [["O", "B-a", "I-a", "B-b"], ["B-a", "O"], ["O"]]


def test_counts_and_micro_f1():
    counts = span_counts(SAID, GOLD)
    assert counts.tolist() == [[1, 2, 1], [0, 1, 1], [0, 0, 0]]
    assert f1_of(counts) == pytest.approx(2 * 1 / (3 + 2))
    assert f1_of(span_counts([["O"]], [["O"]])) == 1.0


def test_a_span_must_match_in_both_ends():
    assert span_counts([["B-a", "O"]], [["B-a", "I-a"]]).tolist() == [[0, 1, 1]]


def test_texts_must_be_as_many():
    with pytest.raises(ValueError, match="shorter|longer"):
        span_counts(SAID, GOLD[:2])


def test_exact_match_wants_intent_and_all_labels():
    right = np.array([True, True, False])
    assert exact_match(right, GOLD, GOLD).tolist() == [True, True, False]
    assert exact_match(right, SAID, GOLD).tolist() == [False, False, False]


def test_relative_error_change():
    assert relative_error_change(0.05, 0.10) == pytest.approx(-0.5)
    assert relative_error_change(0.1, 0.0) is None


def test_the_interval_of_a_mean_is_the_binomial_one():
    values = np.repeat([[0], [1]], [300, 700], axis=0)
    found = bootstrap(lambda sums: sums[:, 0] / 1000, values)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert found.value == pytest.approx(0.7)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.n == 1000


def test_f1_with_its_interval():
    counts = np.tile(span_counts(SAID, GOLD), (50, 1))
    found = f1_interval(counts)
    assert found.value == pytest.approx(0.4)
    assert 0.25 < found.low < 0.4 < found.high < 0.55


def test_paired_sums_leave_no_noise_between_equal_systems():
    counts = np.tile(span_counts(SAID, GOLD), (20, 1))

    def difference(sums):
        return sums[:, 0] / (sums[:, 1] + sums[:, 2]) - sums[:, 3] / (sums[:, 4] + sums[:, 5])

    found = bootstrap(difference, np.concatenate([counts, counts], 1))
    assert (found.low, found.high) == (0, 0)


def test_spans_are_seqevals():
    rng = np.random.default_rng(0)
    labels = ["O", "B-a", "I-a", "B-b", "I-b"]
    for _ in range(500):
        row = [labels[at] for at in rng.integers(5, size=rng.integers(1, 9))]
        theirs = [(name, start, end + 1) for name, start, end in get_entities(row)]
        assert spans(row) == theirs
