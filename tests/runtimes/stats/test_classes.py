"""Counts, recall, F1 and macro-F1 by hand."""

import numpy as np
import pytest

from compactor_runtimes.stats import classes as class_metrics
from compactor_runtimes.stats.metrics import macro_f1

# class 2 is never answered, class 3 neither there nor answered; the last sample has no label
LABELS = [0, 0, 0, 1, 1, 2, -100]
TOP1 = [0, 0, 1, 1, 0, 1, 3]


def test_counts_put_the_truth_in_rows_and_ignore_the_unlabelled():
    counts = class_metrics.confusion_counts(LABELS, TOP1, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_recall_and_f1_of_a_class_that_is_not_there_are_no_number():
    counts = class_metrics.confusion_counts(LABELS, TOP1, 4)
    assert class_metrics.recall(counts) == pytest.approx([2 / 3, 1 / 2, 0, np.nan], nan_ok=True)
    # 2 * 2 / (3 + 3), 2 * 1 / (2 + 3), 0 / (1 + 0), 0 / 0
    assert class_metrics.f1(counts) == pytest.approx([2 / 3, 2 / 5, 0, np.nan], nan_ok=True)
    assert class_metrics.mean_f1(counts) == pytest.approx((2 / 3 + 2 / 5) / 3)


def test_macro_f1_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, 200), rng.normal(size=(200, 7))
    expected = sklearn.f1_score(labels, logits.argmax(-1), average="macro", zero_division=0)
    assert macro_f1(logits, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "top1", "message"),
    [
        ([0, 4], [0, 0], "labels from 0 to 4"),
        ([0], [-1], "answers from -1"),
        ([0, 1], [0], "expected the same"),
    ],
)
def test_indices_out_of_range_and_other_shapes_are_refused(labels, top1, message):
    with pytest.raises(ValueError, match=message):
        class_metrics.confusion_counts(labels, top1, 4)
