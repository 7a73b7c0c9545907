"""Our ONNX files in optimum's ORTModel classes: what they need beside the file, and the same numbers.

Beside `fp32.onnx` lies a config.json of transformers with at least a `model_type` that optimum's transformers
knows; it names the library and the labels (`id2label`) and leaves what the graph computes alone. Inputs are
ours as they are: input_ids and attention_mask, or pixel_values. Outputs: `logits`; feature extraction reads
`last_hidden_state` and nothing else, so a pooled `embedding` opens with ORTModelForCustomTasks.
"""

import json
import shutil

import numpy as np
import onnxruntime
import optimum.onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoConfig

CLASSES = {
    "sequence": ("ORTModelForSequenceClassification", "logits"),
    "token": ("ORTModelForTokenClassification", "logits"),
    "states": ("ORTModelForFeatureExtraction", "last_hidden_state"),
    "embedding": ("ORTModelForCustomTasks", "embedding"),
    "image": ("ORTModelForImageClassification", "logits"),
}
FILE = "fp32.onnx"

# Of the largest answer. torch and ONNX Runtime add the up to 1536 products of a float32 dot product (rounded
# at 6e-8 each) in another order, in up to six layers; a wrong input, axis or weight is off by far more.
TOLERANCE = 1e-5


def open_model(name, folder, **options):
    return getattr(optimum.onnxruntime, CLASSES[name][0]).from_pretrained(folder, file_name=FILE, **options)


def known(folder):
    return load_file(folder / "feeds.safetensors"), load_file(folder / "answers.safetensors")


@pytest.mark.parametrize("name", CLASSES)
def test_the_class_gives_the_answers_of_the_torch_student(models, name):
    feeds, answers = known(models / name)
    output = CLASSES[name][1]
    assert list(answers) == [output]
    found = open_model(name, models / name)(**feeds)
    assert list(found) == [output]
    assert found[output].shape == answers[output].shape
    limit = TOLERANCE * np.abs(answers[output]).max()
    np.testing.assert_allclose(found[output], answers[output], rtol=0, atol=limit)
    # and what ONNX Runtime itself gives for the file, to the bit: the class adds nothing
    (plain,) = onnxruntime.InferenceSession(models / name / FILE).run(None, feeds)
    np.testing.assert_array_equal(found[output], plain)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "embedding"])
def test_tensors_and_io_binding_work_too(models, name):
    """IO binding, which is the default on GPUs, computes the outputs' shapes from the names of the axes."""
    feeds, answers = known(models / name)
    output = CLASSES[name][1]
    tensors = {key: torch.from_numpy(values) for key, values in feeds.items()}
    found = open_model(name, models / name, use_io_binding=True)(**tensors)[output]
    limit = TOLERANCE * np.abs(answers[output]).max()
    np.testing.assert_allclose(found.numpy(), answers[output], rtol=0, atol=limit)


def test_padding_changes_nothing_there_either(models):
    feeds, _ = known(models / "sequence")
    model = open_model("sequence", models / "sequence")
    length = int(feeds["attention_mask"][1].sum())
    assert length < feeds["input_ids"].shape[1]
    alone = model(**{key: values[1:2, :length] for key, values in feeds.items()}).logits
    padded = model(**feeds).logits[1:2]
    np.testing.assert_allclose(padded, alone, rtol=0, atol=TOLERANCE * np.abs(alone).max())


def test_feature_extraction_reads_last_hidden_state_alone(models):
    feeds, _ = known(models / "embedding")
    model = optimum.onnxruntime.ORTModelForFeatureExtraction.from_pretrained(
        models / "embedding", file_name=FILE
    )
    with pytest.raises(KeyError, match="last_hidden_state"):
        model(**feeds)


def test_states_pool_to_the_embedding_that_we_export(models):
    """The two files of one encoder agree: the mean over unmasked token states is the embedding."""
    feeds, answers = known(models / "embedding")
    states = open_model("states", models / "states")(**feeds).last_hidden_state
    weights = feeds["attention_mask"][..., None].astype(np.float32)
    pooled = (states * weights).sum(1) / weights.sum(1)
    limit = TOLERANCE * np.abs(states).max()
    np.testing.assert_allclose(pooled, answers["embedding"], rtol=0, atol=limit)


def test_a_model_type_is_all_that_config_json_needs(models, tmp_path):
    shutil.copyfile(models / "image" / FILE, tmp_path / FILE)
    with pytest.raises(ValueError, match="library name could not be automatically inferred"):
        open_model("image", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    feeds, answers = known(models / "image")
    found = open_model("image", tmp_path)(**feeds).logits
    np.testing.assert_array_equal(found.argmax(1), answers["logits"].argmax(1))
    assert open_model("image", models / "image").config.id2label == {0: "red", 1: "green", 2: "blue"}


def test_a_file_inside_a_bundle_opens_as_it_lies(models):
    """A bundle has no config.json of transformers; then session and configuration are handed over."""
    session = onnxruntime.InferenceSession(models / "sequence" / FILE)
    config = AutoConfig.from_pretrained(models / "sequence")
    model = optimum.onnxruntime.ORTModelForSequenceClassification(config=config, session=session)
    feeds, answers = known(models / "sequence")
    limit = TOLERANCE * np.abs(answers["logits"]).max()
    np.testing.assert_allclose(model(**feeds).logits, answers["logits"], rtol=0, atol=limit)
    assert model.config.num_labels == 3
