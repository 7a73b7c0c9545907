"""Folds of the training samples: a balanced partition that hangs on the samples alone."""

from dataclasses import replace

import numpy as np
import pytest

from compactor.data.folds import fewest_trained_on, fold_of_each
from compactor.samplers.other_folds import Options
from compactor_runtimes.errors import UsageError
from tests import toys


def test_folds_are_a_balanced_partition() -> None:
    """24 samples of 3 classes in 3 folds: 8 each; of a class of 8, two folds have 3 and one has 2."""
    split = toys.split(24)
    folds = fold_of_each(split, 3)
    assert np.bincount(folds).tolist() == [8, 8, 8]
    for label in range(3):
        assert sorted(np.bincount(folds[split.labels["label"] == label], minlength=3)) == [2, 3, 3]
    assert folds.tolist() == fold_of_each(toys.split(24, seed=9), 3).tolist()  # whatever the pixels
    assert folds.tolist() != (np.arange(24) % 3).tolist()


def test_what_a_teacher_visits_is_what_its_fold_leaves() -> None:
    split = toys.split(25)
    folds = fold_of_each(split, 4)
    for fold in range(4):
        kept = Options(fold=fold + 1, folds=4).kept(split, seed=5)
        assert sorted([*kept, *np.flatnonzero(folds == fold)]) == list(range(25))
        assert len(kept) >= fewest_trained_on(split, 4) == 18


def test_samples_of_other_data_belong_to_no_fold() -> None:
    folds = fold_of_each(replace(toys.split(24), parts=((20, 0.5), (4, 0.5))), 2)
    assert np.bincount(folds).tolist() == [10, 10, 4]
    assert folds[20:].tolist() == [2] * 4


def test_too_many_folds_are_refused() -> None:
    Options(fold=1, folds=24).check_rows(toys.split(24), "here", smoke=False)
    with pytest.raises(
        UsageError, match=r"here: 25 folds of 24 training samples found, expected a sample in"
    ):
        Options(fold=1, folds=25).check_rows(toys.split(24), "here", smoke=False)
    with pytest.raises(ValueError, match="fold: got 4, expected 1 to 3"):
        Options(fold=4, folds=3)
