import re
import warnings

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image

from compactor_runtimes import environment, load
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import IntegrityError, UsageError

BLUE = np.zeros((4, 4, 3), np.uint8)
BLUE[:, :, 2] = 51  # 16 pixels of 51 / 255 = 0.2: logits 0, 0, 3.2
RED = np.zeros((4, 4, 3), np.uint8)
RED[:2, :, 0] = 255  # 8 pixels of 1: logits 8, 0, 0


@pytest.fixture
def model(bundle):
    with load(bundle.path, threads=1) as model:
        yield model


def test_one_image_gives_one_prediction(model, tmp_path):
    path = tmp_path / "blue.png"
    Image.fromarray(BLUE).save(path)
    for raw in (BLUE, path, str(path), path.read_bytes(), Image.fromarray(BLUE)):
        found = model.predict(raw)
        assert (found.label, found.index) == ("blue", 2)
        # e^3.2 / (e^3.2 + 2)
        assert found.confidence == pytest.approx(0.924621, abs=1e-6)
        assert found.probabilities.shape == (3,)


def test_many_images_give_a_list(model):
    for many in ([BLUE, RED], (BLUE, RED), np.stack([BLUE, RED])):
        assert [each.label for each in model.predict(many)] == ["blue", "red"]
    assert [each.label for each in model.predict([RED])] == ["red"]
    assert model.predict([]) == []


def test_logits_are_the_graphs_own(model):
    np.testing.assert_allclose(model.logits(BLUE), [[0, 0, 3.2]], rtol=1e-6)
    np.testing.assert_allclose(model.logits([RED, BLUE]), [[8, 0, 0], [0, 0, 3.2]], rtol=1e-6)
    assert model.logits([]).shape == (0, 3)


def test_long_lists_run_in_parts_of_the_largest_batch(bundle, monkeypatch):
    with load(bundle.path) as model:
        sizes = []
        run = model._run
        monkeypatch.setattr(
            model, "_run", lambda feeds: sizes.append(len(feeds["pixel_values"])) or run(feeds)
        )
        found = model.predict([BLUE, RED] * 10)
        assert sizes == [8, 8, 4]
        assert [each.label for each in found] == ["blue", "red"] * 10
        assert len(model.predict(np.stack([RED] * 9))) == 9


def test_an_image_of_another_size_is_refused_before_the_graph(model):
    with pytest.raises(UsageError, match=r"\[3, 5, 4\] found after preprocessing, \[3, 4, 4\] expected"):
        model.predict(np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="got float32 of shape"):
        model.predict([BLUE, RED.astype(np.float32)])


def test_bounds_of_a_dynamic_size_are_shown(bundle):
    port = msgspec.structs.replace(
        bundle.manifest.main.inputs[0], axes=["batch", 3, "height", 4], min=[1, 3, 2, 4], max=[8, 3, 6, 4]
    )
    bundle.replace_main(inputs=[port])
    with pytest.raises(
        IntegrityError, match=r"axes any, 3, 4, 4, the manifest says float32 with .*'height', 4\]"
    ):
        load(bundle.path)
    graph = onnx.load(bundle.path / "artifacts/fp32.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(graph, bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with (
        load(bundle.path) as model,
        pytest.raises(UsageError, match=r"\[3, 2\.\.6, 4\] expected by the graph"),
    ):
        model.predict(np.zeros((7, 4, 3), np.uint8))


def test_a_closed_model_says_so(bundle):
    model = load(bundle.path)
    model.close()
    model.close()
    with pytest.raises(UsageError, match="closed"):
        model.predict(BLUE)


def test_only_verified_artifacts_load(bundle):
    with load(bundle.path, artifact="fp32") as model:
        assert (model.artifact.name, model.labels) == ("fp32", ["red", "green", "blue"])
    spare = msgspec.structs.replace(bundle.manifest.main.artifacts[0], name="spare", status="not-run")
    bundle.replace_main(artifacts=[*bundle.manifest.main.artifacts, spare])
    for name in ("spare", "int4"):
        with pytest.raises(
            UsageError, match=rf"no verified artifact '{name}'.*fp32 \(verified\), spare \(not-run\)"
        ):
            load(bundle.path, artifact=name)


def test_a_graph_with_other_names_is_damage(bundle, make_classifier):
    model = make_classifier()
    model.graph.output[0].name = model.graph.node[1].output[0] = "scores"
    onnx.save(model, bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with pytest.raises(IntegrityError, match=r"outputs \['scores'\], the manifest says \['logits'\]"):
        load(bundle.path)


def test_bundles_that_predict_cannot_serve_are_refused(bundle):
    good = bundle.manifest
    bundle.replace(post=good.post * 2)
    with pytest.raises(
        UsageError, match="post: softmax, softmax found, expected one entry, or softmax and bio"
    ):
        load(bundle.path)
    bundle.replace(post=good.post)
    bundle.replace_main(inputs=[msgspec.structs.replace(good.main.inputs[0], min=[2, 3, 4, 4])])
    with pytest.raises(UsageError, match="smallest batch is 2, expected 1"):
        load(bundle.path)
    bundle.replace_main(inputs=good.main.inputs)
    bundle.replace_artifact(files=[])
    with pytest.raises(IntegrityError, match="artifact 'fp32' lists no file"):
        load(bundle.path)


@pytest.mark.parametrize(
    ("precision", "there", "here", "said"),
    [
        (
            "int8",
            ["avx2", "avx512_vnni"],
            ["avx2"],
            r"with 8-bit .* \(avx2 avx512_vnni\), this one has none",
        ),
        ("int8", ["avx2"], ["avx2", "amx_int8"], r"without 8-bit dot products \(avx2\), this one has them"),
        ("int8", ["avx2", "avx_vnni"], ["asimd", "dotprod"], None),
        ("int8", ["avx2"], ["avx2", "avx512f"], None),
        ("int8", [], ["avx2"], None),  # written before this was recorded
        ("int8", ["avx2", "avx_vnni"], [], None),  # a system that does not tell
        ("fp32", ["avx2", "avx_vnni"], ["avx2"], None),
    ],
)
def test_int8_that_was_judged_on_other_instructions_is_doubted(
    bundle, monkeypatch, precision, there, here, said
):
    spec = ExportSpec(precision=precision, quantization="static" if precision == "int8" else None)
    bundle.replace_artifact(spec=spec, isa=there)
    monkeypatch.setattr(environment, "isa_flags", lambda: here)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(bundle.path).close()
    assert len(caught) == (said is not None)
    if said is not None:
        text = str(caught[0].message)
        assert re.search(said, text)
        assert f"`compactor verify {bundle.path}`" in text
        assert caught[0].filename == __file__  # the line that loads


def test_a_bad_item_of_a_list_is_numbered_across_batches(bundle):
    from compactor_runtimes import InputError

    good = np.zeros((4, 4, 3), np.uint8)
    with load(bundle.path) as model:
        for call in (model.predict, model.outputs, model.logits):
            with pytest.raises(InputError, match=r"input number 9 \(from 0\): the given bytes: ") as caught:
                call([good] * 9 + [b"", good])
            assert caught.value.index == 9
            with pytest.raises(UsageError, match=r"^the given bytes: cannot be read"):
                call(b"")
