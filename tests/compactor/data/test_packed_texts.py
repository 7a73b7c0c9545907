"""A column of texts behaves as a list of strings, and reads pieces of tables exactly."""

import numpy as np
import pyarrow as pa
import pytest

from compactor.data.packed_texts import PackedTexts, first_blank, read_texts

TEXTS = ["play", "", "naïve 猫 🐈", " x ", "play", "a\nb"]


def test_a_column_is_a_list_of_its_texts() -> None:
    column = PackedTexts.of(TEXTS)
    assert (len(column), column.shape) == (6, (6,))
    assert column.tolist() == list(column) == TEXTS
    assert [column[row] for row in range(-6, 6)] == TEXTS + TEXTS
    assert column[np.int64(2)] == TEXTS[2]
    assert column[1:4].tolist() == TEXTS[1:4]
    assert column[np.array([4, 0, 2])].tolist() == ["play", "play", TEXTS[2]]
    assert column[[2]][0] == TEXTS[2]
    with pytest.raises(IndexError):
        column[6]
    assert PackedTexts.of([]).tolist() == PackedTexts.joined([]).tolist() == []


def test_what_is_picked_can_be_packed_and_joined() -> None:
    column = PackedTexts.of(TEXTS)
    some = column[np.array([2, 0, 5])]
    packed = some.packed()
    assert packed.tolist() == [TEXTS[2], "play", "a\nb"]
    assert len(packed.letters) == sum(len(text.encode()) for text in packed)
    assert PackedTexts.joined([column[1:3], some]).tolist() == [*TEXTS[1:3], *some]


def test_equal_texts_alone_have_equal_numbers() -> None:
    numbers = PackedTexts.of(TEXTS).numbers()
    assert numbers[0] == numbers[4]
    assert len(np.unique(numbers)) == 5


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_pieces_of_tables_are_read_from_where_they_begin(kind: pa.DataType) -> None:
    whole = pa.array(["aa", None, "naïve", "d"], kind)
    for start in range(4):
        piece = whole.slice(start, 2)
        assert read_texts(piece).tolist() == [cell or "" for cell in piece.to_pylist()]
    assert read_texts(whole.slice(4)).tolist() == []
    assert read_texts(pa.array([["a", "b"], None, ["c"]])).tolist() == ["a b", "", "c"]


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\x1c", "\u3000\u2003", "\x85"])
def test_blank_texts_are_those_of_python(blank: str) -> None:
    assert not blank.strip()
    assert first_blank(PackedTexts.of(["a", " b", "猫", "\x7f", blank, blank])) == 4
    assert first_blank(PackedTexts.of(["a", " b", "猫", "\x7f"])) is None
