import numpy as np
import pytest

from compactor_runtimes.bundle.manifest import BioPost, EmbeddingPost, SoftmaxPost
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.answers import decoder_from
from compactor_runtimes.predict.answers.classes import ClassCodec
from compactor_runtimes.predict.answers.intent_slots import IntentSlotCodec
from compactor_runtimes.predict.answers.slots import SlotCodec, word_classes
from compactor_runtimes.predict.answers.vector import VectorCodec
from compactor_runtimes.predict.bio import word_bounds
from compactor_runtimes.predict.text import Words

POST = SoftmaxPost(output="logits", labels="label")


def test_decoding_names_the_most_probable_class():
    first, second = ClassCodec(POST, {"label": ["a", "b", "c"]})(
        {"logits": np.log(np.array([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]]))}
    )
    assert (first.label, first.index, second.label, second.index) == ("c", 2, "a", 0)
    assert first.confidence == pytest.approx(0.625, rel=1e-6)
    assert type(first.index) is int
    assert type(first.confidence) is float
    np.testing.assert_allclose(second.probabilities, [0.75, 0.125, 0.125], rtol=1e-6)


def test_an_output_of_another_width_is_refused():
    with pytest.raises(IntegrityError, match=r"'logits': shape \(1, 2\) found, \[B, 3\] expected"):
        ClassCodec(POST, {"label": ["a", "b", "c"]})({"logits": np.zeros((1, 2), np.float32)})


BIO = ["O", "B-a", "I-a"]
SLOT = BioPost(output="slots", labels="slot")


def words(text, first, tokens):
    return Words(np.zeros(tokens, np.int64), word_bounds(text), np.array(first, np.int64), text)


def rows(*best):
    """Logits ln 6 for the class of each token, and 0: 6 of 8."""
    return np.log(np.array([[6 if index == each else 1 for index in range(3)] for each in best]))


def test_slots_are_read_of_first_tokens_alone():
    # a special token, two tokens of the first word, one of the second, padding
    logits = np.stack([rows(1, 1, 0, 2, 1), rows(1, 0, 1, 1, 1)])
    given = [words("big red", [1, 3], 4), words(" on  ", [1], 3)]
    one, two = SlotCodec(SLOT, {"slot": BIO})({"slots": logits}, given)
    assert [(each.name, each.start, each.end, each.value) for each in one.slots] == [("a", 0, 7, "big red")]
    assert one.slots[0].confidence == pytest.approx(0.75, rel=1e-6)
    assert type(one.slots[0].confidence) is float
    assert two.slots == []


def test_a_word_without_a_token_is_outside_and_ends_a_slot():
    logits = rows(1, 2, 2)[None]  # the last row says I-a, and is where -1 would lead
    (found,) = SlotCodec(SLOT, {"slot": BIO})({"slots": logits}, [words("w x y z", [0, -1, 1, -1], 3)])
    assert [(each.start, each.end) for each in found.slots] == [(0, 1), (4, 5)]
    assert word_classes(logits[0], words("w x", [1, -1], 3)).tolist() == [2, -1]


def test_a_text_without_words_has_no_slots():
    (found,) = SlotCodec(SLOT, {"slot": BIO})({"slots": rows(1, 1)[None]}, [words(" ", [], 2)])
    assert found.slots == []
    assert SlotCodec(SLOT, {"slot": BIO})({"slots": np.zeros((0, 2, 3))}) == []


@pytest.mark.parametrize(
    ("shape", "texts"), [((1, 3, 2), 1), ((2, 3, 3), 1), ((1, 2, 3), 1), ((1, 3), 1), ((1, 3, 3), 0)]
)
def test_slots_of_another_shape_are_refused(shape, texts):
    expected = rf"'slots': shape .* found, \[{texts}, {3 * texts} or more, 3\] expected"
    with pytest.raises(IntegrityError, match=expected):
        SlotCodec(SLOT, {"slot": BIO})({"slots": np.zeros(shape)}, [words("w", [1], 3)] * texts)


def test_post_entries_make_one_decoder():
    labels = {"label": ["x", "y", "z"], "slot": BIO}
    assert isinstance(decoder_from([POST], labels), ClassCodec)
    assert isinstance(decoder_from([EmbeddingPost(output="e")], labels), VectorCodec)
    assert isinstance(decoder_from([SLOT], labels), SlotCodec)
    decode = decoder_from([POST, SLOT], labels)
    assert isinstance(decode, IntentSlotCodec)
    assert [each.reads_words for each in (ClassCodec, VectorCodec, SlotCodec, IntentSlotCodec)] == [
        False,
        False,
        True,
        True,
    ]
    outputs = {"logits": rows(2), "slots": rows(0, 1)[None]}
    (found,) = decode(outputs, [words("w", [1], 2)])
    assert (found.label, found.index, found.slots[0].value) == ("z", 2, "w")
    assert found.confidence == pytest.approx(0.75, rel=1e-6)
    for wrong, words_found in (
        ([], "none"),
        ([SLOT, POST], "bio, softmax"),
        ([POST] * 2, "softmax, softmax"),
    ):
        with pytest.raises(UsageError, match=f"post: {words_found} found"):
            decoder_from(wrong, labels)
