"""Average precision, F1 and thresholds of sets of labels: by hand, and against torchmetrics."""

import numpy as np
import pytest

from compactor_runtimes.stats import multi_label
from compactor_runtimes.stats.sigmoid import sigmoid

# scores .9 .8 .7 .6; the label is at ranks 1 and 3: (1/1 + 2/3) / 2
SCORES = np.array([[0.9], [0.8], [0.7], [0.6]])
LABELS = np.array([[1], [0], [1], [0]])


def random(n=60, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < [0.5, 0.3, 0.2, 0.1, 0.6]).astype(np.int64)
    logits = np.round(rng.normal(size=(n, classes)) + 1.5 * labels, 1)  # rounded, so that some tie
    return logits.astype(np.float32), labels


def test_average_precision_by_hand():
    assert multi_label.average_precisions(SCORES, LABELS).tolist() == [pytest.approx(5 / 6)]


def test_equal_scores_make_one_step():
    """Both at one score: precision 1/2 at recall 1, whichever comes first in the file."""
    for labels in ([[1], [0]], [[0], [1]]):
        assert multi_label.mean_average_precision([[2.0], [2.0]], labels) == 0.5


@pytest.mark.slow
def test_average_precision_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    logits, labels = random()
    peer = classification.MultilabelAveragePrecision(5, average=None)
    expected = peer(torch.tensor(logits).double().sigmoid(), torch.tensor(labels)).numpy()
    np.testing.assert_allclose(multi_label.average_precisions(logits, labels), expected, atol=1e-6)
    assert multi_label.mean_average_precision(logits, labels) == pytest.approx(expected.mean(), abs=1e-6)


def test_a_label_that_all_or_none_have_does_not_count():
    scores = np.column_stack([SCORES, SCORES, SCORES])
    labels = np.column_stack([LABELS, np.ones(4, int), np.zeros(4, int)])
    found = multi_label.average_precisions(scores, labels)
    assert np.isfinite(found).tolist() == [True, False, False]
    assert multi_label.mean_average_precision(scores, labels) == pytest.approx(5 / 6)
    assert multi_label.chance_map(labels) == 0.5
    with pytest.raises(ValueError, match="no label that some row has and some has not"):
        multi_label.mean_average_precision(scores[:, 1:], labels[:, 1:])


def test_rows_without_labels_are_left_out():
    logits, labels = random()
    more = np.vstack([labels, np.full((3, 5), -100)]), np.vstack([logits, np.full((3, 5), 9.0)])
    assert multi_label.map_interval(more[1], more[0]) == multi_label.map_interval(logits, labels)
    assert multi_label.known_rows(more[0]).sum() == 60


def test_intervals_hold_the_value_and_get_narrower_with_more_samples():
    few, many = (multi_label.map_interval(*random(n)) for n in (60, 600))
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    assert multi_label.map_interval(*random()) == few  # the seed decides


def test_a_difference_is_paired_and_its_bound_is_one_sided():
    logits, labels = random(400)
    same = multi_label.map_difference(logits, 3 * logits + 1, labels)  # the same order of samples
    assert (same.interval.value, same.interval.low, same.interval.high, same.drop_bound) == (0, 0, 0, 0)
    assert same.p == 1.0
    noise = np.random.default_rng(1).normal(size=logits.shape)
    worse = multi_label.map_difference(logits, logits + noise, labels)
    assert worse.interval.high < 0
    assert worse.p < 0.05
    assert -worse.interval.value < worse.drop_bound < -worse.interval.low


def test_f1_by_hand():
    """Label 0: 1 right of 2 answered and 2 there; label 1: nothing there or answered; label 2: missed."""
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [-100, -100, -100]])
    answers = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1]], bool)
    np.testing.assert_allclose(multi_label.f1_of_labels(answers, labels), [0.5, np.nan, 0.0])
    assert multi_label.macro_f1(answers, labels) == 0.25
    assert multi_label.micro_f1(answers, labels) == pytest.approx(2 * 1 / (2 + 3))
    np.testing.assert_allclose(multi_label.recall_of_labels(answers, labels), [0.5, np.nan, 0.0])


@pytest.mark.slow
def test_f1_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, labels = random()
    answers = multi_label.decided(logits, [0.4] * 5)
    peer = {
        kind: float(
            functional.multilabel_f1_score(torch.tensor(answers).int(), torch.tensor(labels), 5, average=kind)
        )
        for kind in ("macro", "micro")
    }
    assert multi_label.macro_f1(answers, labels) == pytest.approx(peer["macro"], abs=1e-6)
    assert multi_label.micro_f1(answers, labels) == pytest.approx(peer["micro"], abs=1e-6)


def test_thresholds_maximise_f1_and_lie_between_two_probabilities():
    """Label 0: answering .9 and .7 and the .8 between gives F1 4/5, .9 alone 2/3. Label 1 nobody has."""
    p = np.column_stack([SCORES, SCORES])
    assert multi_label.best_thresholds(p, np.column_stack([LABELS, 0 * LABELS])) == [
        pytest.approx(0.65),
        0.5,
    ]


def test_of_equally_good_thresholds_the_lowest_is_taken():
    """All three have the label: answering all is best, from halfway between 0 and the smallest on."""
    assert multi_label.best_thresholds([[0.4], [0.5], [0.6]], [[1], [1], [1]]) == [pytest.approx(0.2)]
    # .9 alone: 1 right of 1 said and 2 there = 2/3; all four: 2 right of 4 said = 2/3
    assert multi_label.best_thresholds([[0.9], [0.3], [0.2], [0.1]], [[1], [0], [0], [1]]) == [
        pytest.approx(0.05)
    ]


def test_no_other_threshold_has_a_larger_f1():
    logits, labels = random(80)
    p = sigmoid(logits, "float64")
    chosen = multi_label.best_thresholds(p, labels)
    best = multi_label.f1_of_labels(p >= chosen, labels)
    for other in np.linspace(0, 1, 201):
        assert (multi_label.f1_of_labels(p >= other, labels) <= best + 1e-12).all()


def test_both_halves_of_a_label_are_in_its_divergence():
    """KL of q = 0.8 and p = 0.5: 0.8 ln 1.6 + 0.2 ln 0.4 = 0.1927, twice; sums over labels."""
    q, p = np.log(4.0) * np.ones((3, 2)), np.zeros((3, 2))
    assert multi_label.mean_bernoulli_kl(q, p) == pytest.approx(2 * (0.8 * np.log(1.6) + 0.2 * np.log(0.4)))
    assert multi_label.mean_bernoulli_kl([[80.0, -80.0]], [[80.0, -80.0]]) == 0
    assert multi_label.mean_bernoulli_kl([[80.0]], [[-80.0]]) == pytest.approx(80)


def test_calibration_of_all_label_probabilities():
    """Ten times 0.8, of which 8 are there, are calibrated; of 5 there they are off by 0.3."""
    logits = np.full((10, 1), np.log(4.0))
    for there, expected in ((8, 0.0), (5, 0.3)):
        labels = (np.arange(10) < there).astype(int)[:, None]
        assert multi_label.label_ece(logits, labels) == pytest.approx(expected, abs=1e-12)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"expected twice \[N, C\]"):
        multi_label.average_precisions(SCORES, LABELS[:3])
    with pytest.raises(ValueError, match="none of 4 rows has labels"):
        multi_label.average_precisions(SCORES, LABELS * 0 - 100)
