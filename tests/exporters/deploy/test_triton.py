"""The repository is as Triton's schema wants it, and its Python models answer as the bundle does.

Triton is not run: model.py is executed with a stand-in of the backend's module that only holds tensors.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import module_from_spec, spec_from_file_location

import msgspec
import numpy as np
import pytest

from compactor_exporters.deploy import deploy
from compactor_exporters.deploy.triton import TYPES
from compactor_runtimes import load
from compactor_runtimes.errors import UsageError
from tests.exporters.deploy.stand_in_for_triton import InferenceRequest, Tensor, stand_in
from tests.runtimes.conftest import write_bundle


@pytest.fixture
def models(images, tmp_path):
    return deploy(images, "triton", output=tmp_path / "out", name="toy").folder / "models"


def started(path, monkeypatch):
    """The TritonPythonModel of a model.py, initialised as Triton does it."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in())
    spec = spec_from_file_location("a_model", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({"model_config": "{}"})
    return model


def asked(model, *batches):
    """Responses to requests of RAW [B, 1]."""
    raws = [np.array(batch, object).reshape(-1, 1) for batch in batches]
    return model.execute([InferenceRequest([Tensor("RAW", raw)]) for raw in raws])


def test_the_graph_is_the_bundles_and_is_batched(models, images):
    assert (models / "toy/1/model.onnx").read_bytes() == (images / "artifacts/fp32.onnx").read_bytes()
    text = (models / "toy/config.pbtxt").read_text()
    assert 'name: "toy"\nmax_batch_size: 8\nbackend: "onnxruntime"' in text
    assert '{ name: "pixel_values" data_type: TYPE_FP32 dims: [ 3, 4, 4 ] }' in text
    assert '{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }' in text
    assert "dynamic_batching { max_queue_delay_microseconds: 500 }" in text


def test_a_graph_of_a_fixed_batch_is_refused(tmp_path):
    written = write_bundle(tmp_path / "bundle")
    port = msgspec.structs.replace(written.manifest.main.inputs[0], min=[8, 3, 4, 4])
    written.replace_main(inputs=[port])
    with pytest.raises(UsageError, match="batches of 8 to 8, from 1 on expected"):
        deploy(written.path, "triton", output=tmp_path / "out")


def test_the_raw_model_answers_as_the_bundle_does(models, images, monkeypatch):
    cases = [path.read_bytes() for path in sorted((images / "golden").glob("*.png"))]
    model = started(models / "toy_raw/1/model.py", monkeypatch)
    one, both, bad = asked(model, cases[:1], cases, [b"no image"])
    model.finalize()
    with load(images, threads=1) as reference:
        expected = [json.loads(answer.to_json()) for answer in reference.predict(cases)]
    found = both.output_tensors[0].as_numpy()
    assert found.shape == (2, 1)
    assert [json.loads(each) for each in found[:, 0]] == expected
    assert json.loads(one.output_tensors[0].as_numpy()[0, 0]) == expected[0]
    assert (bad.output_tensors, type(bad.error).__name__) == ([], "TritonError")
    assert "cannot be read" in str(bad.error)


def test_the_feeds_of_the_ensemble_are_the_golden_ones(texts, tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    models = deploy(texts, "triton", output=tmp_path / "out", name="toy").folder / "models"
    golden = load_file(texts / "golden/t.safetensors")
    model = started(models / "toy_feeds/1/model.py", monkeypatch)
    raws = [(texts / f"golden/case-00{index}.txt").read_bytes() for index in range(2)]
    for index, response in enumerate(asked(model, raws[:1], raws[1:])):
        made = {each.name(): each.as_numpy() for each in response.output_tensors}
        np.testing.assert_array_equal(made["input_ids"], golden[f"case-00{index}.ids"])
        np.testing.assert_array_equal(made["attention_mask"], golden[f"case-00{index}.mask"])


def schema():
    """Triton's own message types; their module needs protobuf alone, its package grpc as well."""
    try:
        found = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    except PackageNotFoundError:
        pytest.skip("tritonclient is not installed; its schema is the reference here")
    spec = spec_from_file_location("model_config_pb2", found)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["images", "texts"])
def test_tritons_schema_takes_every_configuration(kind, tmp_path, request):
    from google.protobuf import text_format

    pb2 = schema()
    folder = deploy(request.getfixturevalue(kind), "triton", output=tmp_path / "out", name="toy").folder
    found = {}
    for path in (folder / "models").glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text(), pb2.ModelConfig())
        assert config.name == path.parent.name
        assert (path.parent / "1").is_dir()
        found[config.name] = config
    assert set(found) == {"toy", "toy_raw", "toy_feeds", "toy_ensemble"}
    assert found["toy"].HasField("dynamic_batching")
    assert [each.name for each in found["toy_raw"].output] == ["ANSWER"]
    ensemble = found["toy_ensemble"]
    assert (ensemble.platform, ensemble.HasField("ensemble_scheduling")) == ("ensemble", True)
    made = {each.name: each for each in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:  # each step's tensors exist, with one type and one size
        model = found[step.model_name]
        takes = {each.name: each for each in model.input}
        assert set(step.input_map) == set(takes)
        for own, outer in step.input_map.items():
            assert (takes[own].data_type, takes[own].dims) == (made[outer].data_type, made[outer].dims)
        made |= {outer: each for each in model.output for outer in [step.output_map[each.name]]}
    assert {each.name for each in ensemble.output} <= set(made)
    assert set(TYPES.values()) <= set(pb2.DataType.keys())
