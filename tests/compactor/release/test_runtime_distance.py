"""The distance of one teacher's answers from another's, by hand."""

from math import log

import numpy as np
import pytest

from compactor.records import Head
from compactor.release.runtime_distance import distance

ONE = Head("label", "sample", "softmax", ("a", "b"))
ANY = Head("labels", "sample", "sigmoid", ("a", "b"))
WORDS = Head("slot", "word", "softmax", ("a", "b"))


def test_of_classes_it_is_the_mean_divergence_and_the_share_of_equal_top_classes() -> None:
    """Of (1/2, 1/2) to (1/4, 3/4): (log 2 + log 2/3) / 2 = log(2 / sqrt 3); the second row is the same."""
    ours = {"label": np.log([[0.5, 0.5], [0.9, 0.1]])}
    theirs = {"label": np.log([[0.25, 0.75], [0.9, 0.1]]) + 7}
    found = distance([ours], [theirs], [ONE])
    assert found.rows == 2
    assert found.kl == pytest.approx(log(2 / 3**0.5) / 2)
    assert found.agreement == 0.5  # of the two that are as likely the first counts
    assert distance([ours, ours], [ours, theirs], [ONE]) == found  # of two kinds of views the worse


def test_of_any_number_of_labels_divergences_are_summed_and_all_decisions_count() -> None:
    ours = {"labels": np.array([[0.0, 2.0], [0.0, 2.0]])}
    theirs = {"labels": np.array([[log(3), 2.0], [0.0, 2.0]])}  # 1/2 and 3/4
    found = distance([ours], [theirs], [ANY])
    assert found.kl == pytest.approx(log(2 / 3**0.5) / 2)
    assert found.agreement == 1.0
    assert distance([ours], [{"labels": -ours["labels"] - 1}], [ANY]).agreement == 0.0


def test_words_without_a_token_do_not_count_and_the_worse_head_does() -> None:
    ours = {"label": np.array([[1.0, 0.0]]), "slot": np.log([[[0.5, 0.5], [1.0, 1.0]]])}
    theirs = {"label": np.array([[1.0, 0.0]]), "slot": np.log([[[0.25, 0.75], [1.0, 1.0]]])}
    ours["slot"][0, 0] += 1  # logits of a word; the second one has none
    found = distance([ours], [theirs], [ONE, WORDS])
    assert found.kl == pytest.approx(log(2 / 3**0.5))
    assert found.agreement == 0.0
