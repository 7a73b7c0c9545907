"""Divide the training samples into folds, for teachers that label what they have not seen.

1. The samples of each class (of the first head with one label a sample; those without a label, and all where
   there is no such head, are a group of their own) are permuted, class after class, and dealt out in turn: no
   two folds differ by more than one sample, nor by more than one of a class.
2. The permutation hangs on the class and its samples alone, on no seed of a recipe: stages that divide the
   same samples share their folds.
3. Samples that `data.also` mixes in belong to no fold: no teacher of a fold is trained on them.
"""

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Split

RULE = "class-balanced 1"  # of a store's header; another way to divide is another rule
SALT = 7  # keeps the draw apart from those of samplers and splits
FEWEST = 2  # samples that a teacher is trained on at least


def fold_of_each(split: Split, folds: int) -> NDArray[np.int64]:
    """The fold 0..folds-1 of each sample, int64 [n]; `folds` where it belongs to none."""
    own = split.parts[0][0] if split.parts else len(split)
    rows = split.rows[:own]
    classes = next((one[rows] for one in split.labels.values() if one.ndim == 1), np.zeros(own, np.int64))
    dealt = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence([SALT, number]))).permutation(
            np.flatnonzero(classes == value)
        )
        for number, value in enumerate(np.unique(classes))
    ]
    found = np.full(len(split), folds, dtype=np.int64)
    found[np.concatenate(dealt)] = np.arange(own) % folds
    return found


def fewest_trained_on(split: Split, folds: int) -> int:
    """Samples outside the largest fold."""
    own = split.parts[0][0] if split.parts else len(split)
    return own - -(-own // folds)
