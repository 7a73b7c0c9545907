"""Text and embedding bundles: loading, predicting, and golden cases, without torch."""

import math
import os
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes import load, verify_bundle
from compactor_runtimes.bundle.manifest import EmbeddingPost, ExportSpec, TextPre
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.answers import decoder_from
from compactor_runtimes.predict.answers.vector import VectorCodec
from tests.runtimes.text_bundles import PRE, TABLE, WORDS, graph, write_text_bundle, write_tokenizer


@pytest.fixture
def texts(tmp_path):
    return write_text_bundle(tmp_path / "bundle")


@pytest.fixture
def vectors(tmp_path):
    return write_text_bundle(tmp_path / "bundle", embedding=True)


def failed(bundle):
    return {row.check: row for row in verify_bundle(bundle.path, threads=1).rows if not row.passed}


def test_a_str_is_a_text_and_a_list_gives_a_list(texts):
    with load(texts.path, threads=1) as model:
        assert (model.takes, model.labels) == ("text", ["on", "off", "music"])
        one = model.predict("turn on")
        # logits 2, 0, 0: e^2 / (e^2 + 2)
        assert (one.label, one.index) == ("on", 0)
        assert one.confidence == pytest.approx(math.exp(2) / (math.exp(2) + 2), abs=1e-6)
        assert model.predict(b"music\n").label == "music"
        for many in (["music", "off off"], ("music", "off off"), np.array(["music", "off off"])):
            assert [each.label for each in model.predict(many)] == ["music", "off"]
        assert model.predict([]) == []
        assert model.logits([]).shape == (0, 3)


def test_one_alone_and_among_others_has_the_same_bits(texts):
    with load(texts.path, threads=1) as model:
        alone = model.predict("turn on the light")
        for each in model.predict(["turn on the light"] * 3):
            assert each.to_dict() == alone.to_dict()
            assert each.probabilities.tobytes() == alone.probabilities.tobytes()


def test_a_path_is_a_text_file(texts):
    with load(texts.path) as model:
        assert model.predict(texts.path / "golden/case-001.txt").label == "music"


def test_texts_of_different_lengths_do_not_touch_each_other(texts):
    given = ["music", "turn on the light", "", "off off off off off off off"]
    with load(texts.path) as model:
        together = model.logits(given)
        # the last is cut to [CLS], four times off, [SEP]
        np.testing.assert_allclose(together, [[0, 0, 3], [2, 0, 0], [0, 0, 0], [0, 8, 0]], atol=1e-6)
        np.testing.assert_allclose(
            together, np.concatenate([model.logits(text) for text in given]), atol=1e-6
        )


def test_long_lists_run_in_parts_each_padded_to_its_own_longest(texts, monkeypatch):
    with load(texts.path) as model:
        shapes, run = [], model._run
        monkeypatch.setattr(
            model, "_run", lambda feeds: shapes.append(feeds["input_ids"].shape) or run(feeds)
        )
        found = model.predict(["music"] * 5 + ["turn on the light"] * 4)
    assert shapes == [(4, 3), (4, 6), (1, 6)]
    assert [each.label for each in found] == ["music"] * 5 + ["on"] * 4


def test_an_embedding_model_gives_vectors_of_length_one(vectors):
    with load(vectors.path) as model:
        assert model.labels == []
        one = model.predict("on off off")
        # sums 2, 4, 0 of length sqrt(20)
        np.testing.assert_allclose(one.vector, [2 / math.sqrt(20), 4 / math.sqrt(20), 0], atol=1e-6)
        assert one.vector.dtype == np.float32
        np.testing.assert_allclose(model.logits("on off off"), [[2, 4, 0]], atol=1e-6)
        two = model.predict(["music", ""])
        assert [each.vector.tolist() for each in two] == [[0, 0, 1], [0, 0, 0]]
        assert model.logits([]).shape == (0, 3)


def test_a_vector_is_left_as_it_is_if_the_manifest_says_so():
    values = np.array([[3, 4]], np.float16)
    found = decoder_from([EmbeddingPost(output="e", normalize=False)], {})({"e": values})
    assert found[0].vector.tolist() == [3, 4]
    assert found[0].vector.dtype == np.float32
    assert VectorCodec(EmbeddingPost(output="e"), {})({"e": values})[0].vector.tolist() == pytest.approx(
        [0.6, 0.8]
    )
    with pytest.raises(IntegrityError, match=r"shape \(1, 2, 1\) found, \[B, D\] expected"):
        VectorCodec(EmbeddingPost(output="e"), {})({"e": values[..., None]})


def test_good_bundles_pass_every_check(texts, tmp_path):
    result = verify_bundle(texts.path, threads=1)
    assert [(row.artifact, row.check, row.n, row.limit, row.passed) for row in result.rows] == [
        ("bundle", "preprocessing of input_ids and attention_mask", 5, 0.0, True),
        ("fp32", "output logits", 5, 1e-4, True),
        ("fp32", "output logits, batched", 6, 1e-4, True),  # 4 of mixed lengths, and the fifth twice
        ("fp32", "decoding of logits", 5, 1e-3, True),
        ("fp32", "served", 5, 0.0, True),
    ]
    assert failed(write_text_bundle(tmp_path / "vectors", embedding=True)) == {}


def test_a_wrong_tokenizer_behind_a_right_hash_is_found(texts):
    swapped = [*WORDS[:5], "off", "on", *WORDS[7:]]
    write_tokenizer(texts.path / PRE.tokenizer, swapped)
    texts.rehash()
    row = failed(texts)["preprocessing of input_ids and attention_mask"]
    assert "case 'case-000'" in row.detail or "case 'case-002'" in row.detail
    assert "input 'input_ids': difference 1 found, limit 0" in row.detail


def test_a_tokenizer_without_special_tokens_and_another_cut_are_found(texts):
    write_tokenizer(texts.path / PRE.tokenizer, special=False)
    texts.rehash()
    row = failed(texts)["preprocessing of input_ids and attention_mask"]
    assert row.value is None
    write_tokenizer(texts.path / PRE.tokenizer)
    texts.rehash()
    assert failed(texts) == {}
    texts.replace(pre=[msgspec.structs.replace(PRE, max_tokens=5)])
    assert "shape (1, 5) found, (1, 6) expected" in next(iter(failed(texts).values())).detail


def test_a_graph_that_ignores_its_mask_is_found_in_batches_alone(texts):
    texts.save_graph(graph(masked=False))
    rows = failed(texts)
    assert set(rows) == {"output logits, batched"}
    # the empty text beside one of six tokens: four paddings of 9
    assert rows["output logits, batched"].value == pytest.approx(36)
    assert "in a batch of 4 padded to one length" in rows["output logits, batched"].detail
    # in pairs the shortest still meets the longest
    texts.replace_inputs(max=[2, 6])
    assert failed(texts)["output logits, batched"].value == pytest.approx(36)


def test_a_frozen_batch_axis_and_a_changed_weight_are_found(texts):
    texts.save_graph(graph(batch=1))
    with pytest.raises(IntegrityError, match=r"has 'input_ids' as int64 with axes 1, any, the manifest"):
        verify_bundle(texts.path)
    table = TABLE.copy()
    table[9, 2] += 0.5
    texts.save_graph(graph(table))
    assert failed(texts)["output logits"].value == pytest.approx(0.5)


def test_the_whole_decoded_vector_is_compared(vectors):
    path = vectors.path / "golden/t.safetensors"
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    tensors["case-001.vector"][0, 2] -= 0.01
    save_file(tensors, path)
    vectors.rehash()
    rows = failed(vectors)
    assert set(rows) == {"decoding of embedding"}
    assert rows["decoding of embedding"].value == pytest.approx(0.01, abs=1e-6)
    spec = ExportSpec(precision="int8")
    main = vectors.manifest.main
    loose = msgspec.structs.replace(main.artifacts[0], spec=spec)
    vectors.replace(components={"main": msgspec.structs.replace(main, artifacts=[loose])})
    assert failed(vectors) == {}
    vectors.replace(post=[EmbeddingPost(output="embedding", normalize=False)])
    assert failed(vectors)["decoding of embedding"].limit == 1e-4  # a plain output keeps to its own limit


def test_a_vector_that_is_not_there_is_damage(vectors):
    path = vectors.path / "golden/cases.json"
    path.write_text(path.read_text().replace("case-001.vector", "nowhere"))
    vectors.rehash()
    with pytest.raises(IntegrityError, match="no array found for 'the vector' of golden case 'case-001'"):
        verify_bundle(vectors.path)
    path.write_text(path.read_text().replace('"vector"', '"label"'))
    vectors.rehash()
    with pytest.raises(IntegrityError, match="decoded result of golden case 'case-000'"):
        verify_bundle(vectors.path)


def test_references_of_texts_must_be_listed(texts):
    good = texts.manifest
    for changes, words in (
        ({"ids": "tokens"}, "pre-processed input 'tokens' is not in the manifest"),
        ({"mask": "m"}, "pre-processed input 'm' is not in the manifest"),
        ({"tokenizer": "assets/other.json"}, "tokenizer file 'assets/other.json' is not in the manifest"),
        ({"max_tokens": 7}, r"'input_ids' has axes .* up to \[4, 6\], texts of up to 7 tokens"),
    ):
        texts.replace(pre=[msgspec.structs.replace(PRE, **changes)])
        with pytest.raises(IntegrityError, match=words):
            open_bundle(texts.path)
    texts.replace(pre=good.pre, post=[EmbeddingPost(output="vector")])
    with pytest.raises(IntegrityError, match="post-processed output 'vector' is not in the manifest"):
        open_bundle(texts.path)
    texts.replace(post=good.post)
    texts.replace_inputs(axes=["batch", 6], min=[1, 6])
    with pytest.raises(IntegrityError, match="need a named second axis"):
        open_bundle(texts.path)


def test_a_graph_with_a_third_input_is_refused_by_predict(texts):
    main = texts.manifest.main
    third = msgspec.structs.replace(main.inputs[0], name="token_type_ids")
    texts.replace(components={"main": msgspec.structs.replace(main, inputs=[*main.inputs, third])})
    with pytest.raises(IntegrityError, match="the manifest says"):
        load(texts.path)


def test_text_pre_is_unchanged_by_a_round_trip(texts):
    assert open_bundle(texts.path).manifest.pre == [TextPre(tokenizer=PRE.tokenizer, max_tokens=6, pad_id=0)]


def test_a_text_bundle_needs_the_text_extra_alone(texts):
    script = """
import sys
for name in ("torch", "transformers", "onnx", "PIL", "datasets"):
    sys.modules[name] = None
from compactor_runtimes import load, verify_bundle
assert verify_bundle(sys.argv[1])
with load(sys.argv[1]) as model:
    print(model.predict("turn on").label)
del sys.modules["tokenizers"]
sys.modules["tokenizers"] = None
try:
    load(sys.argv[1])
except ImportError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", script, str(texts.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = run.stdout.splitlines()
    assert first == "on"
    assert "pip install 'compactor-toolkit[text]'" in second


def test_a_list_holding_no_text_is_refused(texts):
    with load(texts.path) as model, pytest.raises(UsageError, match="got int"):
        model.predict(["music", 3])


def test_outputs_of_every_token_are_compared_without_their_padding(texts):
    """A second output [batch, tokens, 3]: the row of the table of each token."""
    path, cases_path = texts.path / "golden/t.safetensors", texts.path / "golden/cases.json"
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    cases = msgspec.json.decode(cases_path.read_bytes())
    for case in cases:
        case["outputs"]["rows"] = f"{case['id']}.rows"
        tensors[f"{case['id']}.rows"] = TABLE[tensors[f"{case['id']}.ids"]]
    save_file(tensors, path)
    cases_path.write_bytes(msgspec.json.encode(cases))
    main = texts.manifest.main
    rows = msgspec.structs.replace(
        main.outputs[0], name="rows", axes=["batch", "tokens", 3], role="logits", labels=None
    )
    artifact = msgspec.structs.replace(main.artifacts[0], limits={"logits": 1e-4, "rows": 1e-4})
    texts.replace(
        components={
            "main": msgspec.structs.replace(main, outputs=[*main.outputs, rows], artifacts=[artifact])
        }
    )
    model = graph()
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["batch", "tokens", 3])
    )
    texts.save_graph(model)
    result = verify_bundle(texts.path)
    assert result, result.rows
    assert "output rows, batched" in {row.check for row in result.rows}
