"""Words, first tokens and spans, by hand."""

import pytest

from compactor_runtimes.slots import Slot, first_tokens, slots, spans, word_bounds


def test_words_are_runs_without_white_space():
    assert word_bounds("  play jazz\tat 6pm ") == [(2, 6), (7, 11), (12, 14), (15, 18)]


def test_first_token_of_each_word():
    # [CLS] play ja ##zz , [SEP]: the comma belongs to the second word "jazz,"
    bounds = word_bounds("play jazz, now")
    offsets = [(0, 0), (0, 4), (5, 7), (7, 9), (9, 10), (0, 0)]
    assert first_tokens(bounds, offsets).tolist() == [1, 2, -1]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O", []),
        ("B-a I-a O B-a", [("a", 0, 2), ("a", 3, 4)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("I-a I-a", [("a", 0, 2)]),
        ("B-a I-b I-b", [("a", 0, 1), ("b", 1, 3)]),
        ("O I-a O", [("a", 1, 2)]),
    ],
)
def test_spans(labels, expected):
    assert spans(labels.split()) == expected


def test_slots_have_character_offsets():
    text = "play jazz in the living room"
    labels = "O B-genre O O B-room I-room".split()
    assert slots(text, word_bounds(text), labels) == [
        Slot("genre", 5, 9, "jazz"),
        Slot("room", 17, 28, "living room"),
    ]
