"""The contract of every kind of answer: what is kept is found again, and a change is found out."""

import numpy as np
import pytest

from compactor_runtimes.bundle.manifest import BioPost, EmbeddingPost, SigmoidPost, SoftmaxPost
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.golden.findings import Allowed
from compactor_runtimes.predict.answers import CODECS, TOGETHER, decoder_from, open_codec, reads_words
from compactor_runtimes.predict.bio import word_bounds
from compactor_runtimes.predict.text import Words

LABELS = {"label": ["off", "on"], "slot": ["O", "B-a", "I-a"]}
POSTS = {
    "softmax": SoftmaxPost(output="out", labels="label"),
    "sigmoid": SigmoidPost(output="out", labels="label", thresholds=[0.9, 0.96]),
    "embedding": EmbeddingPost(output="out"),
    "bio": BioPost(output="slots", labels="slot"),
}
WORDS = [Words(np.zeros(3, np.int64), word_bounds("big red"), np.array([0, 2]), "big red")]
OUT = np.array([[3.0, 4.0]], np.float32)
SLOTS = np.array([[[0, 9, 0], [9, 0, 0], [0, 0, 9]]], np.float32)
OUTPUTS = {"out": OUT, "slots": SLOTS}
# another class and direction, and a second word that is outside
CHANGED = {"out": OUT[:, ::-1], "slots": SLOTS[:, [0, 1, 1]]}
# e^-1 / (1 + e^-1), e^-9 / (1 + 2 e^-9)
SURE, CERTAIN = 0.7310586, 0.9997532
SAID = {
    "softmax": ("on", ["on", "0.7311"], ["label", "index", "confidence", "rejected", "probabilities"]),
    "sigmoid": (
        "on, off",
        ["on 0.9820", "off 0.9526"],
        ["labels", "indices", "confidences", "probabilities"],
    ),
    "embedding": ("2 numbers", ["2 numbers"], ["embedding"]),
    "bio": ("1 slots", ["a[0:7]=big red"], ["slots"]),
}


def kept(tag):
    """A codec, the answer to OUTPUTS, what is read of its record, and the record."""
    codec = open_codec(POSTS[tag], LABELS)
    (answer,) = codec(OUTPUTS, WORDS)
    record, arrays = codec.keep(answer, "case-007")
    return codec, answer, codec.read(record, arrays.__getitem__), record


def judged(tag, found, *, limit=1e-3, tie=0.0):
    codec, _, stored, _ = kept(tag)
    return codec.compare(
        found, stored, OUTPUTS, WORDS, allowed=Allowed(limit, tie), what=f"case of {codec.output!r}"
    )


@pytest.mark.parametrize("tag", CODECS)
def test_what_is_kept_compares_with_itself_and_not_with_another_answer(tag):
    same, other = judged(tag, OUTPUTS), judged(tag, CHANGED)
    assert (same.passed, same.value, same.limit) == (True, 0.0, 1e-3)
    assert not other.passed
    assert f"case of {POSTS[tag].output!r}" in other.detail
    assert "found" in other.detail
    with pytest.raises(IntegrityError, match="export the bundle again"):
        judged(tag, {name: values[0] for name, values in OUTPUTS.items()})


@pytest.mark.parametrize("tag", CODECS)
def test_what_is_said_of_an_answer(tag):
    codec, answer, _, _ = kept(tag)
    say, cells, fields = SAID[tag]
    assert (codec.say(answer), codec.cells(answer), sorted(answer.to_dict())) == (
        say,
        cells,
        sorted([*fields, "truncated"]),
    )
    assert codec.fits_a_line is (tag != "embedding")
    assert codec.reads_words is reads_words([POSTS[tag]]) is (tag == "bio")
    classes = {"softmax": ["off", "on"], "sigmoid": ["off", "on"], "embedding": [], "bio": LABELS["slot"]}
    assert codec.labels == classes[tag]


def test_what_happens_to_an_output_is_told():
    raw = EmbeddingPost(output="out", normalize=False)
    assert [open_codec(post, LABELS).describe() for post in (*POSTS.values(), raw)] == [
        "out -> softmax -> one of the labels 'label'",
        "out -> sigmoid -> each of the labels 'label' from a threshold of its own (0.9 to 0.96) on",
        "out -> vector, divided by its length",
        "slots -> one of the labels 'slot' for each word -> slots",
        "out -> vector",
    ]


def test_records_as_bundles_have_held_them_since_the_first_release():
    assert kept("softmax")[3] == {"label": "on", "index": 1, "confidence": pytest.approx(SURE, rel=1e-6)}
    assert kept("embedding")[3] == {"vector": "case-007.decoded-vector"}
    np.testing.assert_allclose(kept("embedding")[2], [[0.6, 0.8]], rtol=1e-6)
    slot = {"name": "a", "start": 0, "end": 7, "value": "big red"}
    assert kept("bio")[3] == {"slots": [{**slot, "confidence": pytest.approx(CERTAIN, rel=1e-6)}]}


def labels_codec(*thresholds):
    return open_codec(SigmoidPost(output="out", labels="label", thresholds=list(thresholds)), LABELS)


# probabilities 0.9526 of "off", 0.9820 of "on"
@pytest.mark.parametrize(
    ("thresholds", "labels", "words"),
    [
        ((), ["on", "off"], "from 0.5 on"),
        ((0.97, 0.97), ["on"], "from 0.97 on"),
        ((0.5, 0.99), ["off"], "from a threshold of its own (0.5 to 0.99) on"),
        ((0.99, 0.99), [], "from 0.99 on"),
    ],
)
def test_labels_are_those_that_reach_their_threshold(thresholds, labels, words):
    codec = labels_codec(*thresholds)
    (answer,) = codec(OUTPUTS)
    assert answer.labels == labels
    assert answer.indices == [LABELS["label"].index(one) for one in labels]
    np.testing.assert_allclose(answer.probabilities, [0.952574, 0.982014], rtol=1e-5)
    assert codec.describe().endswith(words)
    if not labels:
        assert (codec.say(answer), codec.cells(answer)) == ("no label", ["-"])
    assert codec.keep(answer, "case-007")[0] == {
        "labels": labels,
        "indices": answer.indices,
        "confidences": answer.confidences,
    }


def test_a_label_may_turn_where_its_probability_lies_as_near_to_its_threshold_as_the_limit():
    """Logit 3.01 instead of 3: 0.9530 instead of 0.9526, with the threshold between them."""
    codec = labels_codec(0.9528, 0.5)
    stored = codec.read(codec.keep(codec(OUTPUTS)[0], "case-007")[0], None)
    found = {"out": np.array([[3.01, 4.0]], np.float32)}
    assert (stored.labels, codec(found)[0].labels) == (["on"], ["on", "off"])
    for limit, passes in ((1e-3, True), (1e-4, False)):
        verdict = codec.compare(found, stored, OUTPUTS, (), allowed=Allowed(limit, 0.0), what="case")
        assert verdict.passed is passes
    assert codec.limit(1e-3, 0.01, exact=False) == pytest.approx(0.0025, rel=1e-4)
    assert codec.limit(1e-3, 0.01, exact=True) == 1e-3


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["off"], "indices": [0], "confidences": [0.9525741]},  # another label
        {"labels": ["off"], "indices": [1], "confidences": [0.9820138]},  # its name
        {"labels": ["on"], "indices": [1], "confidences": [0.9]},  # its probability
        {"labels": ["on"], "indices": [7], "confidences": [0.9820138]},  # no label
        {"labels": ["on"], "indices": [], "confidences": []},
        {"labels": [], "indices": [], "confidences": []},
    ],
)
def test_what_is_stored_of_labels_must_follow_from_the_stored_logits(changed):
    codec = labels_codec(0.97, 0.97)
    verdict = codec.compare(
        OUTPUTS, codec.read(changed, None), OUTPUTS, (), allowed=Allowed(1e-3, 0.0), what="case"
    )
    assert not verdict.passed
    assert "does not follow from" in verdict.detail


def codec_post(entry):
    return SoftmaxPost(output="out", labels="label", **entry)


# sure 0.7311 of "on": rejected from just above it, and as the class that means none
REJECTS = [
    ({}, False, ""),
    ({"reject_below": 0.731}, False, ", rejected below 0.731"),
    ({"reject_below": 0.7312}, True, ", rejected below 0.7312"),
    ({"reject_label": "off"}, False, ", rejected as 'off'"),
    ({"reject_below": 0.1, "reject_label": "on"}, True, ", rejected below 0.1 or as 'on'"),
]


@pytest.mark.parametrize(("entry", "rejected", "words"), REJECTS)
def test_a_rejected_answer_keeps_label_and_confidence(entry, rejected, words):
    codec = open_codec(codec_post(entry), LABELS)
    (answer,) = codec(OUTPUTS)
    assert (answer.label, answer.rejected) == ("on", rejected)
    assert answer.confidence == pytest.approx(SURE, rel=1e-6)
    assert codec.cells(answer) == ["on", "0.7311", *(["rejected"] if rejected else [])]
    assert answer.to_dict()["rejected"] is rejected
    assert codec.keep(answer, "case-007")[0].get("rejected", False) is rejected
    assert codec.describe() == f"out -> softmax -> one of the labels 'label'{words}"
    both = decoder_from([codec_post(entry), POSTS["bio"]], LABELS)
    assert both(OUTPUTS, WORDS)[0].rejected is rejected


@pytest.mark.parametrize(
    ("below", "stored", "passes"),
    [
        (0.7312, {"rejected": True}, True),
        (0.7312, {}, False),  # kept without a threshold: the manifest's was added afterwards
        (0.5, {"rejected": True}, False),  # and here it was lowered
        (0.7305, {"confidence": 0.7304, "rejected": True}, True),  # on the other side, as near as the limit
        (0.7305, {"confidence": 0.7204, "rejected": True}, False),  # too far for the limit
    ],
)
def test_what_was_rejected_follows_from_the_stored_confidence(below, stored, passes):
    codec = open_codec(codec_post({"reject_below": below}), LABELS)
    kept = codec.read({"label": "on", "index": 1, "confidence": SURE} | stored, None)
    found = codec.compare(OUTPUTS, kept, OUTPUTS, (), allowed=Allowed(1e-3, 0.0), what="case")
    assert found.passed is passes
    assert ("does not follow from" in found.detail) is (stored.get("confidence") is None and not passes)


def test_two_answers_are_as_good_where_the_stored_logits_tie():
    """The stored ones differ by 1 in the class, by 9 in the label of the second word."""
    for tag, apart in (("softmax", 1.0), ("bio", 9.0)):
        found = {"out": OUT[:, ::-1], "slots": SLOTS[:, [0, 1, 1]]}
        assert not judged(tag, found, limit=1.0, tie=apart).passed
        assert judged(tag, found, limit=1.0, tie=apart + 0.1).passed


def test_limits_by_hand():
    """tanh(0.2 / 2) = 0.0997; a vector that is left as it is keeps to its output's limit."""
    for tag in ("softmax", "bio"):
        codec = open_codec(POSTS[tag], LABELS)
        assert codec.limit(1e-3, 0.2, exact=True) == 1e-3
        assert codec.limit(0.05, 0.2, exact=False) == pytest.approx(0.0996680, rel=1e-5)
        assert codec.limit(0.05, 0.02, exact=False) == 0.05
    whole, raw = (open_codec(EmbeddingPost(output="out", normalize=one), LABELS) for one in (True, False))
    assert (whole.limit(0.05, 0.2, exact=False), raw.limit(0.05, 0.2, exact=False)) == (0.05, 0.2)
    assert (whole.limit(1e-3, 1e-4, exact=True), raw.limit(1e-3, 1e-4, exact=True)) == (1e-3, 1e-4)


@pytest.mark.parametrize("tags", TOGETHER)
def test_entries_together_say_what_each_of_them_says(tags):
    posts = [POSTS[tag] for tag in tags]
    codecs = [open_codec(post, LABELS) for post in posts]
    decode = decoder_from(posts, LABELS)
    (answer,) = decode(OUTPUTS, WORDS)
    record, arrays = decode.keep(answer, "case-007")
    assert arrays == {}
    for codec in codecs:
        (alone,) = codec(OUTPUTS, WORDS)
        own, _ = codec.keep(alone, "case-007")
        assert own.items() <= record.items()
        assert alone.to_dict().items() <= answer.to_dict().items()
        stored = codec.read(record, arrays.__getitem__)
        assert codec.compare(
            OUTPUTS, stored, OUTPUTS, WORDS, allowed=Allowed(0.0, 0.0), what="together"
        ).passed
    assert (decode.say(answer), decode.labels) == ("on", ["off", "on"])
    assert decode.cells(answer) == ["on", "0.7311", "a[0:7]=big red"]
    assert (decode.reads_words, decode.fits_a_line) == (True, True)
