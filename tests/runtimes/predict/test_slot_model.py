"""Bundles of intents and slots: predicting, raw outputs, and golden cases, without torch."""

import math
import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes import load, verify_bundle
from compactor_runtimes.bundle.manifest import DecodeImage, ExportSpec, ImagePre
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.answers.classes import Prediction
from compactor_runtimes.predict.answers.intent_slots import Understanding
from compactor_runtimes.predict.answers.slots import Tagging
from tests.runtimes.slot_bundles import (
    BIO,
    DEVICE,
    FOUND,
    SLOTS,
    WHAT,
    change_cases,
    save,
    slot_graph,
    write_slot_bundle,
)
from tests.runtimes.text_bundles import WORDS, write_tokenizer

DECODING = "decoding of slot_logits"


@pytest.fixture
def bundle(tmp_path):
    return write_slot_bundle(tmp_path / "bundle")


def failed(bundle):
    return {row.check: row for row in verify_bundle(bundle.path, threads=1).rows if not row.passed}


def places(answer):
    return [(slot.name, slot.start, slot.end, slot.value) for slot in answer.slots]


def test_one_text_gives_intent_confidence_and_slots(bundle):
    with load(bundle.path, threads=1) as model:
        assert (model.takes, model.labels) == ("text", ["on", "off", "music"])
        one = model.predict("Turn ON\tthe light")
    assert isinstance(one, Understanding)
    assert isinstance(one, Prediction)
    assert (one.label, one.index) == ("on", 0)
    # logits 2, 0, 0
    assert one.confidence == pytest.approx(math.exp(2) / (math.exp(2) + 2), abs=1e-6)
    assert one.probabilities.shape == (3,)
    assert places(one) == [("device", 8, 17, "the light")]
    assert one.slots[0].confidence == pytest.approx(DEVICE, abs=1e-6)


def test_many_texts_run_in_parts_each_padded_and_decoded_by_itself(bundle, monkeypatch):
    given = [*FOUND, "music   MUSIC", "the", "light light the", "on"]
    with load(bundle.path, threads=1) as model:
        single = [model.predict(text) for text in given]
        shapes, run = [], model._run
        monkeypatch.setattr(
            model, "_run", lambda feeds: shapes.append(feeds["input_ids"].shape) or run(feeds)
        )
        for many in (given, tuple(given), np.array(given)):
            found = model.predict(many)
            assert [each.label for each in found] == [each.label for each in single]
            assert [places(each) for each in found] == [places(each) for each in single]
        assert model.predict([]) == []
    assert [batch for batch, _ in shapes] == [4, 4, 1] * 3
    assert [length for _, length in shapes[:3]] == sorted(length for _, length in shapes[:3])  # by length
    for each, (text, slots) in zip(single, FOUND.items(), strict=False):
        assert places(each) == [slot[:4] for slot in slots], text
    assert places(single[5]) == [("what", 0, 5, "music"), ("what", 8, 13, "MUSIC")]
    # I-, I-, B-
    assert places(single[7]) == [("device", 0, 11, "light light"), ("device", 12, 15, "the")]


def test_words_beyond_the_longest_text_and_words_without_a_token_are_outside(bundle):
    with load(bundle.path) as model:
        # [CLS] turn off the light [SEP]: the last two words have no token
        assert places(model.predict("turn off the light music music")) == [("device", 9, 18, "the light")]
        assert places(model.predict("turn off off the light")) == [("device", 13, 16, "the")]


def test_offsets_are_of_the_text_as_it_was_given(bundle):
    path = bundle.path / "note"
    path.write_bytes("\u2003\U0001f600 the  light\r\n".encode())
    with load(bundle.path) as model:
        assert places(model.predict(path)) == [("device", 3, 13, "the  light")]
        assert places(model.predict("é\U0001f600 music\n".encode())) == [("what", 3, 8, "music")]


def test_slots_alone_are_a_tagging(tmp_path):
    bundle = write_slot_bundle(tmp_path / "bundle", intents=False)
    assert failed(bundle) == {}
    with load(bundle.path) as model:
        assert model.labels == BIO
        one, two = model.predict(["the light", "on"])
        with pytest.raises(UsageError, match=r"has outputs \['slot_logits'\], logits\(\) gives a single one"):
            model.logits("music")
    assert isinstance(one, Tagging)
    assert (places(one), places(two)) == ([("device", 0, 9, "the light")], [])


def test_all_outputs_by_name_and_shorter_parts_filled_with_zeros(bundle):
    with load(bundle.path) as model:
        with pytest.raises(UsageError, match=r"\['intent_logits', 'slot_logits'\], .* call outputs\(\)"):
            model.logits("music")
        one = model.outputs("music")
        np.testing.assert_array_equal(one["slot_logits"], SLOTS[[[2, 9, 3]]])
        np.testing.assert_array_equal(one["intent_logits"], [[0, 0, 3]])
        many = model.outputs(["music", "turn on the light", "on", "off", "music"])
        none = model.outputs([])
    assert {name: values.shape for name, values in none.items()} == {
        "intent_logits": (0, 3),
        "slot_logits": (0, 0, 4),
    }
    assert many["slot_logits"].shape == (5, 6, 4)
    np.testing.assert_array_equal(many["slot_logits"][4], [*SLOTS[[2, 9, 3]], *np.zeros((3, 4))])
    np.testing.assert_array_equal(many["intent_logits"][[0, 4]], [[0, 0, 3]] * 2)


def test_a_good_bundle_passes_every_check(bundle):
    result = verify_bundle(bundle.path, threads=1)
    assert [(row.artifact, row.check, row.n, row.limit, row.passed) for row in result.rows] == [
        ("bundle", "preprocessing of input_ids and attention_mask", 5, 0.0, True),
        ("fp32", "output intent_logits", 5, 1e-4, True),
        ("fp32", "output slot_logits", 5, 1e-4, True),
        ("fp32", "output intent_logits, batched", 6, 1e-4, True),
        ("fp32", "output slot_logits, batched", 6, 1e-4, True),
        ("fp32", "decoding of intent_logits", 5, 1e-3, True),
        ("fp32", DECODING, 5, 1e-3, True),
        ("fp32", "served", 5, 0.0, True),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("start", 9), ("end", 16), ("value", "the Light"), ("name", "what"), ("confidence", DEVICE - 0.002)],
)
def test_a_stored_slot_that_is_not_found_again_fails(bundle, field, value):
    def change(case):
        if case["id"] == "case-000":
            case["decoded"]["slots"][0][field] = value

    change_cases(bundle, change)
    rows = failed(bundle)
    assert set(rows) == {DECODING}
    assert rows[DECODING].detail.startswith(
        "case 'case-000', output 'slot_logits': slots device 'the light' at 8:17 found"
    )


def test_a_slot_too_few_or_too_many_fails(bundle):
    def one_more(case):
        case["decoded"]["slots"].append(
            {"name": "what", "start": 0, "end": 4, "value": "turn", "confidence": 0.5}
        )

    change_cases(bundle, one_more)
    assert "what 'turn' at 0:4 expected" in failed(bundle)[DECODING].detail
    change_cases(bundle, lambda case: case["decoded"].update(slots=[]))
    assert "found, none expected" in failed(bundle)[DECODING].detail


def test_another_spacing_with_the_same_ids_is_found_by_its_offsets_alone(bundle):
    (bundle.path / "golden/case-000.txt").write_text("turn  on the light\n")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {DECODING}
    assert "at 9:18 found, device 'the light' at 8:17 expected" in rows[DECODING].detail


def test_swapped_labels_and_a_damaged_tokenizer_are_found(bundle):
    good = bundle.manifest.labels
    bundle.replace(labels=good | {"slot": [BIO[0], BIO[3], BIO[2], BIO[1]]})
    assert set(failed(bundle)) == {DECODING}
    bundle.replace(labels=good | {"intent": ["off", "on", "music"]})
    assert set(failed(bundle)) == {"decoding of intent_logits"}
    bundle.replace(labels=good)
    write_tokenizer(bundle.path / "assets/tokenizer.json", [*WORDS[:8], "music", "light"])
    bundle.rehash()
    assert "preprocessing of input_ids and attention_mask" in failed(bundle)
    write_tokenizer(bundle.path / "assets/tokenizer.json", special=False)  # other places of the words too
    bundle.rehash()
    assert {"preprocessing of input_ids and attention_mask", DECODING} <= set(failed(bundle))


def test_a_raw_text_that_cannot_be_read_fails_both_checks(bundle):
    (bundle.path / "golden/case-001.txt").write_bytes(b"\xff")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"preprocessing of input_ids and attention_mask", DECODING, "served"}
    assert rows[DECODING].detail.endswith("its text cannot be read, so it has no words")


def test_a_label_that_differs_by_design_must_be_within_twice_the_limit_in_the_stored_outputs(bundle):
    """`light` ends up as B-what instead of I-device; in the stored outputs these are 2 apart."""
    table = SLOTS.copy()
    table[8] = [0, 0, 0.9, 1.1]
    int8 = ExportSpec(precision="int8", quantization="dynamic")
    for limit, passes in ((1.1, True), (0.99, False)):
        limits = {"intent_logits": 1e-4, "slot_logits": limit}
        save(bundle, slot_graph(table), spec=int8, limits=limits)
        assert (DECODING not in failed(bundle)) == passes
    save(bundle, spec=ExportSpec(), limits={"intent_logits": 1e-4, "slot_logits": 1.2})
    assert set(failed(bundle)) == {DECODING}  # fp32 has no ties

    # a stored slot that the stored outputs do not give is no tie
    def change(case):
        for slot in case["decoded"]["slots"]:
            slot["start"] += 1

    save(bundle, spec=int8, limits={"intent_logits": 1e-4, "slot_logits": 1.2})
    assert failed(bundle) == {}
    change_cases(bundle, change)
    assert set(failed(bundle)) == {DECODING}


def test_confidence_of_a_slot_keeps_to_what_the_limit_of_its_logits_allows(bundle):
    table = SLOTS.copy()
    table[9, 3] = 3.5  # music: less sure
    less = math.exp(3.5) / (math.exp(3.5) + 3)
    int8 = ExportSpec(precision="int8", quantization="dynamic")
    save(bundle, slot_graph(table), spec=int8, limits={"intent_logits": 1e-4, "slot_logits": 0.6})
    row = next(row for row in verify_bundle(bundle.path).rows if row.check == DECODING)
    assert row.passed
    assert row.value == pytest.approx(WHAT - less, abs=1e-6)
    assert row.limit == pytest.approx(math.tanh(0.3))


def test_slots_that_see_their_padding_are_found_in_batches_alone(bundle):
    save(bundle, slot_graph(masked=False))
    rows = failed(bundle)
    assert set(rows) == {"output slot_logits, batched"}
    assert rows["output slot_logits, batched"].value == pytest.approx(4)  # the empty text beside six tokens


def test_nan_and_a_missing_result_are_told(bundle):
    table = SLOTS.copy()
    table[9] = np.nan
    save(bundle, slot_graph(table))
    assert "NaN or infinity cannot be decoded" in failed(bundle)[DECODING].detail
    change_cases(bundle, lambda case: case["decoded"].pop("slots"))
    with pytest.raises(IntegrityError, match="decoded result of golden case 'case-000': .* `slots`"):
        verify_bundle(bundle.path)


def test_stored_logits_of_another_length_are_damage_of_that_case(bundle):
    path = bundle.path / "golden/t.safetensors"
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    tensors["case-000.slots"] = tensors["case-000.slots"][:, :4]
    save_file(tensors, path)
    bundle.rehash()
    assert {"output slot_logits", DECODING} <= set(failed(bundle))


def test_slots_need_bio_labels_and_the_tokens_of_a_text(bundle):
    good, main = bundle.manifest, bundle.manifest.main
    bundle.replace(labels=good.labels | {"slot": ["O", "device", "B-", "B-what"]})
    with pytest.raises(IntegrityError, match=r"hold \['device', 'B-'\], expected O, B-\.\.\. and I-\.\.\."):
        open_bundle(bundle.path)
    flat = msgspec.structs.replace(main.outputs[1], axes=["batch", 4])
    broken = msgspec.structs.replace(main, outputs=[main.outputs[0], flat])
    bundle.replace(labels=good.labels, components={"main": broken})
    with pytest.raises(IntegrityError, match=r"of 'slot_logits' with axes \['batch', 4\]"):
        open_bundle(bundle.path)
    bundle.replace(components=good.components, pre=[ImagePre(input="input_ids", steps=[DecodeImage()])])
    with pytest.raises(IntegrityError, match="images are float32 with four"):
        open_bundle(bundle.path)
    bundle.replace(pre=good.pre, post=[*reversed(good.post)])
    with pytest.raises(UsageError, match="post: bio, softmax found, expected one entry, or softmax and bio"):
        load(bundle.path)


def test_a_slot_bundle_needs_the_text_extra_alone(bundle):
    script = """
import sys
for name in ("torch", "transformers", "onnx", "PIL", "datasets"):
    sys.modules[name] = None
from compactor_runtimes import Slot, Understanding, load, verify_bundle
assert verify_bundle(sys.argv[1])
with load(sys.argv[1]) as model:
    found = model.predict("turn on the light")
assert type(found) is Understanding and type(found.slots[0]) is Slot
print(found.label, found.slots[0].value)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", script, str(bundle.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "on the light\n"
