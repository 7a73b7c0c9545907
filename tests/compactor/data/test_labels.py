"""Class numbers and names from labels as they are written."""

import pytest

from compactor.data.labels import read_classes
from compactor_runtimes.errors import UsageError


def read(written, stated=None, **options):
    found = read_classes(written, stated, where="f", **options)
    return found.values.tolist(), found.classes


@pytest.mark.parametrize(
    ("written", "values", "classes"),
    [
        (["2", "0", None, "1"], [2, 0, -100, 1], ["0", "1", "2"]),  # as written 0..C-1, no gap
        (["01", "02"], [0, 1], ["01", "02"]),  # a leading zero makes a name
        (["0", "00"], [0, 1], ["0", "00"]),
        (["90210", "10001"], [1, 0], ["10001", "90210"]),  # codes
        (["1", "2", "3"], [0, 1, 2], ["1", "2", "3"]),  # not from 0
        (["10", "9", "2"], [2, 1, 0], ["2", "9", "10"]),  # names of integers in numeric order
        (["-1", "1", "0"], [0, 2, 1], ["-1", "0", "1"]),
        (["+1", "1"], [0, 1], ["+1", "1"]),
        (["0.0", "1.0"], [0, 1], ["0.0", "1.0"]),
        (["1e3", "0"], [1, 0], ["0", "1e3"]),
        (["0", "2"], [0, 1], ["0", "2"]),  # a gap: 1 is absent, so these are names
        (["9" * 30, "0"], [1, 0], ["0", "9" * 30]),  # a number that fits nowhere
        (["false", "true", "true"], [0, 1, 1], ["false", "true"]),
        (["dog", None, "cat"], [1, -100, 0], ["cat", "dog"]),
        (["C++", "C", "c", "C#"], [2, 0, 3, 1], ["C", "C#", "C++", "c"]),
        (["A-", "A"], [1, 0], ["A", "A-"]),
        ([" yes", "yes"], [0, 1], [" yes", "yes"]),
        (["caf\u00e9", "cafe\u0301"], [0, 0], ["caf\u00e9"]),  # NFC and NFD of one name
        ([None, None], [-100, -100], []),
    ],
)
def test_without_stated_classes_labels_are_numbers_only_where_they_run_from_0_without_gap(
    written, values, classes
):
    assert read(written) == (values, classes)


@pytest.mark.parametrize(
    ("written", "stated", "values"),
    [
        (["2", "0", "1"], ["2", "0", "1"], [0, 1, 2]),  # stated integers are names
        (["10", "30"], ["10", "20", "30"], [0, 2]),
        (["0", "2"], ["neg", "neu", "pos"], [0, 2]),  # numbers of stated names
        (["dog", "cat"], ["dog", "emu", "cat"], [0, 2]),
        (["cafe\u0301"], ["caf\u00e9", "bar"], [0]),
    ],
)
def test_stated_classes_are_names_first_and_numbers_only_where_none_is_an_integer(written, stated, values):
    assert read(written, stated, numbers_of=stated) == (values, stated if stated[0] != "cafe\u0301" else ["caf\u00e9"])


@pytest.mark.parametrize(
    ("written", "stated", "message"),
    [
        (["a", "3"], ["a", "b", "c"], r"f: row 1 holds class '3'.*a, b, c"),
        (["0", "3"], ["neg", "neu", "pos"], r"row \d holds class '\d'.*or its number 0\.\.2"),
        (["01"], ["neg", "pos"], r"row 0 holds class '01'"),
        (["-1"], ["neg", "pos"], r"row 0 holds class '-1'"),
        (["0", "1"], ["1", "2", "3"], r"row 0 holds class '0', expected one of the stated classes: 1, 2, 3"),
        (["YES"], ["yes", "no"], r"row 0 holds class 'YES'"),
        (["dog", "emu"], ["cat", "dog"], r"row 1 holds class 'emu'"),
        (["a"], ["a", "a"], r"class 'a' is stated twice"),
    ],
)
def test_a_label_that_is_neither_a_stated_class_nor_its_number_is_refused(written, stated, message):
    with pytest.raises(UsageError, match=message):
        read(written, stated, numbers_of=stated)


def test_numbers_mean_a_teachers_names_where_these_are_no_integers():
    assert read(["2", "0"], numbers_of=["neg", "neu", "pos"]) == ([2, 0], ["neg", "neu", "pos"])
    assert read(["2", "1"], numbers_of=["1", "2"]) == ([1, 0], ["1", "2"])  # names of its own


def test_a_number_beyond_a_teachers_names_is_a_name():
    assert read(["0", "7"], numbers_of=["neg", "pos"]) == ([0, 1], ["0", "7"])


def test_absent_classes_are_known():
    assert read_classes(["0", "2"], ["a", "b", "c"], where="f", numbers_of=["a", "b", "c"]).absent == ["b"]
    assert read_classes(["0", "2"], ["a", "b", "c"], where="f", numbers_of=["a", "b", "c"]).are_numbers


def test_unseen_names_may_count_as_mistakes():
    assert read(["dog", "emu"], ["cat", "dog"], allow_unseen=True) == ([1, 2], ["cat", "dog"])
