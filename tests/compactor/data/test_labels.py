"""Class numbers and names from what a data set states."""

import numpy as np
import pytest

from compactor.data.labels import labels_from_integers, labels_from_names
from compactor_runtimes.errors import UsageError


def test_integers_without_known_classes_are_named_by_number():
    labels = labels_from_integers(np.array([2, 0, -100, 2]), None, where="f")
    assert labels.classes == ["0", "1", "2"]
    assert labels.values.tolist() == [2, 0, -100, 2]


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ([0, 1, 2], ["a", "b"], r"f: labels out of range: row 2 holds 2, expected 0\.\.1 \(2 classes\)"),
        ([0, -1], ["a", "b"], r"row 1 holds -1, expected 0\.\.1"),
        ([0, -1], None, r"row 1 holds -1, expected 0\.\.0"),
        ([0, 217], None, r"row 1 holds 217, expected 0\.\.1 \(2 classes at most\)"),
    ],
)
def test_integers_out_of_range_name_row_value_and_range(values, classes, message):
    with pytest.raises(UsageError, match=message):
        labels_from_integers(np.array(values), classes, where="f")


def test_names_are_numbered_in_sorted_order_or_in_the_given_one():
    names = ["dog", None, "cat", "dog"]
    assert labels_from_names(names, None, where="f").values.tolist() == [1, -100, 0, 1]
    assert labels_from_names(names, None, where="f").classes == ["cat", "dog"]
    assert labels_from_names(names, ["dog", "emu", "cat"], where="f").values.tolist() == [0, -100, 2, 0]


def test_unknown_name_is_refused():
    with pytest.raises(UsageError, match=r"row 1 holds class 'emu', expected one of the 2 classes cat, dog"):
        labels_from_names(["dog", "emu"], ["cat", "dog"], where="f")
