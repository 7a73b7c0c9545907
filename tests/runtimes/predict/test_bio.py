"""Words, first tokens and spans, by hand."""

import pytest

from compactor_runtimes.predict.bio import Slot, first_tokens, is_bio, slots, spans, word_bounds


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("April 3rd?", "April 3rd"),
        ("(living room),", "living room"),
        ('"smooth jazz"...', "smooth jazz"),
        ("'blue moon'!", "blue moon"),
        ("the parents'", "the parents'"),
        ("o'clock", "o'clock"),
        ("6 a.m.", "6 a.m."),
        ("Washington D.C.,", "Washington D.C."),
        ("St. Louis.", "St. Louis"),
        ("C#", "C#"),
        ("5%", "5%"),
        ("$3.50.", "$3.50"),
        ("example.org.", "example.org"),
        ("room(2)", "room(2)"),
        ("\u201e\u5317\u4eac\u201c\u3002", "\u5317\u4eac"),
        ("?!", "?!"),
        ("'", "'"),
    ],
)
def test_a_value_ends_where_its_words_do(text, value):
    given = f"on {text} now"
    tags = ["O", *(["B-x"] + ["I-x"] * (len(text.split()) - 1)), "O"]
    (slot,) = slots(given, word_bounds(given), tags, punctuation="dropped")
    assert (slot.value, given[slot.start : slot.end]) == (value, value)
    (slot,) = slots(given, word_bounds(given), tags)  # as bundles say that do not say it
    assert slot.value == text


def test_white_space_is_that_of_unicode():
    assert word_bounds("\u3000play\u00a0jazz\n") == [(1, 5), (6, 10)]
    assert word_bounds("") == word_bounds(" \t") == []


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        # a token that begins with the space before its word, and one of spaces alone
        ([(0, 4), (4, 5), (5, 10), (10, 14)], [0, 2, 3]),
        # trimmed, an empty token between
        ([(0, 4), (5, 5), (6, 10), (11, 14)], [0, 2, 3]),
        # one token reaches into the next word, whose own rest is its first
        ([(0, 8), (8, 10), (11, 14)], [0, 1, 2]),
        ([(0, 10), (11, 14)], [0, -1, 1]),
        # the tokenizer dropped a word
        ([(0, 4), (11, 14)], [0, -1, 1]),
        # two tokens of one character
        ([(0, 1), (0, 1), (1, 4), (6, 10)], [0, 3, -1]),
        ([], [-1, -1, -1]),
    ],
)
def test_first_tokens_of_all_kinds_of_tokenizers(offsets, expected):
    bounds = word_bounds("play  jazz now")
    found = first_tokens(bounds, offsets)
    assert found.tolist() == expected
    assert found.dtype == "int64"


def test_no_word_has_no_first_token():
    assert first_tokens([], [(0, 0), (0, 1)]).shape == (0,)


def test_a_slot_is_as_sure_as_its_least_sure_word():
    text = "in the living room"
    found = slots(text, word_bounds(text), "O O B-room I-room".split(), [0.1, 0.2, 0.9, 0.8])
    assert found == [Slot("room", 7, 18, "living room", 0.8)]
    assert slots(text, word_bounds(text), "O O B-room I-room".split())[0].confidence == 1.0


def test_bio_labels():
    assert [is_bio(label) for label in ("O", "B-a", "I-a-b", "B-", "I", "a", "o", "E-a")] == [
        *(True, True, True),
        *(False,) * 5,
    ]
