import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from compactor_runtimes import verify_bundle
from compactor_runtimes.bundle.manifest import CenterCrop, DecodeImage, ExportSpec, Resize, ToFloat
from compactor_runtimes.bundle.open import file_entry, open_bundle
from compactor_runtimes.errors import (
    IntegrityError,
    MissingDependency,
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.golden.checks import check_preprocessing
from compactor_runtimes.golden.verify import read_golden
from tests.runtimes.slot_bundles import write_slot_bundle


def failed(bundle):
    """The failed rows by check; the verdict and the error agree with them."""
    result = verify_bundle(bundle.path, threads=1)
    rows = {row.check: row for row in result.rows if not row.passed}
    assert bool(result) == result.passed == (not rows)
    if rows:
        with pytest.raises(NumericGateError) as caught:
            result.raise_for_gate()
        assert caught.value.exit_code == 3
        first = next(iter(rows.values()))
        assert first.detail in str(caught.value)
        assert f"artifact '{first.artifact}'" in str(caught.value)
    else:
        result.raise_for_gate()
    return rows


def change_tensor(bundle, key, change):
    path = bundle.path / "golden/tensors.safetensors"
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    tensors[key] = change(tensors[key])
    save_file(tensors, path)
    bundle.rehash()


def change_case(bundle, **fields):
    path = bundle.path / "golden/cases.json"
    cases = msgspec.json.decode(path.read_bytes())
    cases[1] |= fields
    path.write_bytes(msgspec.json.encode(cases))
    bundle.rehash()


def test_a_good_bundle_passes_every_check(bundle):
    result = verify_bundle(bundle.path, threads=1)
    assert result
    assert (result.name, result.bundle, result.not_run) == ("colours", str(bundle.path), [])
    assert [(row.artifact, row.check, row.n, row.limit) for row in result.rows] == [
        ("bundle", "preprocessing of pixel_values", 2, 0.0),
        ("fp32", "output logits", 2, 1e-4),
        ("fp32", "output logits, batched", 2, 1e-4),
        ("fp32", "decoding of logits", 2, 1e-3),
        ("fp32", "served", 2, 0.0),
    ]
    assert result.rows[0].value == 0.0
    assert 0 <= result.rows[1].value < 1e-5


def test_a_changed_weight_behind_a_changed_hash_is_found(bundle, make_classifier):
    weight = np.repeat(np.eye(3, dtype=np.float32), 16, axis=0)
    weight[0, 0] += 0.25
    onnx.save(make_classifier(weight), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    rows = failed(bundle)
    assert {"output logits", "output logits, batched"} <= set(rows)
    row = rows["output logits"]
    # Pixel [0, 0] of the red plane is weighed 1.25 instead of 1: a quarter of the brighter case's value.
    expected = max(float(image[0, 0, 0]) for image in bundle.images) / 255 * 0.25
    assert row.value == pytest.approx(expected, rel=1e-4)
    assert row.limit == 1e-4
    assert "output 'logits': difference" in row.detail
    assert "case 'case-" in row.detail


def test_a_changed_golden_image_behind_a_changed_hash_is_found(bundle):
    image = bundle.images[1].copy()
    image[2, 3, 1] ^= 1  # one grey level of one pixel
    Image.fromarray(image).save(bundle.path / "golden/case-1.png")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"preprocessing of pixel_values"}
    row = rows["preprocessing of pixel_values"]
    assert row.value == pytest.approx(1 / 255, rel=1e-5)
    assert "case 'case-1' (golden/case-1.png)" in row.detail


def test_an_unreadable_golden_image_fails_its_check(bundle):
    (bundle.path / "golden/case-0.png").write_bytes(b"nothing")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"preprocessing of pixel_values", "served"}
    assert all("cannot be read as an image" in row.detail for row in rows.values())


def test_wrong_preprocessing_is_found(bundle):
    pre = msgspec.structs.replace(bundle.manifest.pre[0], steps=[DecodeImage(), ToFloat(scale=1 / 256)])
    bundle.replace(pre=[pre])
    assert set(failed(bundle)) == {"preprocessing of pixel_values"}
    pre = msgspec.structs.replace(pre, steps=[DecodeImage(), CenterCrop(height=2, width=4), ToFloat()])
    bundle.replace(pre=[pre])
    row = failed(bundle)["preprocessing of pixel_values"]
    assert row.value is None
    assert "shape (1, 3, 2, 4) found, (1, 3, 4, 4) expected" in row.detail


@pytest.mark.parametrize(("levels", "passes"), [(2, True), (3, False)])
def test_a_resize_may_differ_by_two_grey_levels(tmp_path, make_bundle, levels, passes):
    flat = np.full((2, 4, 4, 3), 100, np.uint8)
    flat[1, :, :, 0] = 110
    bundle = make_bundle(tmp_path / "bundle", steps=[DecodeImage(), Resize(size=4), ToFloat()], images=flat)
    Image.fromarray(flat[0] + np.uint8(levels)).save(bundle.path / "golden/case-0.png")
    bundle.rehash()
    assert (not failed(bundle)) is passes


def test_swapped_labels_are_found(bundle):
    bundle.replace(labels={"label": ["red", "blue", "green"]})
    rows = failed(bundle)
    assert set(rows) == {"decoding of logits"}
    assert "'case-0'" in rows["decoding of logits"].detail


@pytest.mark.parametrize(
    ("decoded", "precision", "passes"),
    [
        ({"label": "red", "index": 1}, "fp32", False),
        ({"confidence": 2e-3}, "fp32", False),
        ({"confidence": 5e-4}, "fp32", True),
        ({"confidence": 2e-3}, "int8", True),
        ({"confidence": 0.06}, "int8", False),
    ],
)
def test_the_decoded_result_is_compared(bundle, decoded, precision, passes):
    stored = msgspec.json.decode((bundle.path / "golden/cases.json").read_bytes())[1]["decoded"]
    if "confidence" in decoded:
        decoded = {"confidence": stored["confidence"] - decoded["confidence"]}
    change_case(bundle, decoded=stored | decoded)
    bundle.replace_artifact(spec=ExportSpec(precision=precision))
    assert set(failed(bundle)) == (set() if passes else {"decoding of logits"})


@pytest.mark.parametrize(
    ("precision", "limit", "passes"),
    [("int8", 1.7, True), ("fp16", 1.7, True), ("int8", 1.5, False), ("fp32", 1.7, False)],
)
def test_classes_closer_than_reduced_precision_is_exact_may_change_places(
    bundle, make_classifier, precision, limit, passes
):
    # Case 0 has logits 3.49, 9.71, 6.51: green leads blue by 3.21, less than 2 * 1.7 and more than 2 * 1.5.
    weight = np.repeat(np.eye(3, dtype=np.float32), 16, axis=0)
    weight[:, 2] *= 1.5  # blue 9.76: the graph answers blue at 51% instead of green at 96%
    onnx.save(make_classifier(weight), bundle.path / "artifacts/fp32.onnx")
    bundle.replace_artifact(spec=ExportSpec(precision=precision), limits={"logits": limit})
    bundle.rehash()
    rows = failed(bundle)
    assert ("decoding of logits" not in rows) is passes
    assert "output logits" in rows  # whose own limit is not widened


@pytest.mark.parametrize(("limit", "passes"), [(0.2, True), (0.1, False)])
def test_a_probability_may_move_as_far_as_the_limit_of_its_logits_moves_it(bundle, limit, passes):
    stored = msgspec.json.decode((bundle.path / "golden/cases.json").read_bytes())[1]["decoded"]
    change_case(bundle, decoded=stored | {"confidence": stored["confidence"] - 0.06})
    bundle.replace_artifact(spec=ExportSpec(precision="int8"), limits={"logits": limit})
    # tanh(0.2 / 2) = 0.0997; tanh(0.1 / 2) = 0.04996, and 0.05 is the least
    assert (not failed(bundle)) is passes


def test_an_overridden_artifact_is_checked_like_a_verified_one(bundle):
    spec = ExportSpec(precision="int8", override="good enough for the demo")
    bundle.replace_artifact(status="overridden", spec=spec, reason="good enough for the demo (failed: drop)")
    assert failed(bundle) == {}
    change_tensor(bundle, "case-1.out", lambda logits: logits + np.float32(0.25))
    assert {row.artifact for row in failed(bundle).values()} == {"fp32"}


def test_the_limit_of_each_artifact_decides(bundle):
    change_tensor(bundle, "case-1.out", lambda logits: logits + np.float32(0.25))
    rows = failed(bundle)
    assert set(rows) == {"output logits", "output logits, batched"}
    assert rows["output logits"].value == pytest.approx(0.25, rel=1e-4)
    bundle.replace_artifact(limits={"logits": 0.26})
    assert failed(bundle) == {}


def test_values_that_are_not_finite_fail_whatever_the_limit(bundle, make_classifier):
    weight = np.repeat(np.eye(3, dtype=np.float32), 16, axis=0)
    weight[0, 0] = np.nan
    onnx.save(make_classifier(weight), bundle.path / "artifacts/fp32.onnx")
    bundle.replace_artifact(limits={"logits": 1e5})
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"output logits", "output logits, batched", "decoding of logits", "served"}
    assert all(row.value is None and "NaN or infinity" in row.detail for row in rows.values())


def test_a_frozen_batch_axis_is_found_and_said(bundle, make_classifier):
    onnx.save(make_classifier(frozen=True), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"output logits, batched", "served"}
    assert (
        "in a batch of 2: refused, so the declared dynamic batch axis is frozen"
        in rows["output logits, batched"].detail
    )


def test_a_graph_that_answers_for_one_sample_of_a_batch_is_found(bundle, make_classifier):
    model = make_classifier()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "first"))
    model.graph.node[1].output[0] = "all"
    model.graph.node.append(onnx.helper.make_node("Gather", ["all", "first"], ["logits"], axis=0))
    onnx.save(model, bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    rows = failed(bundle)
    assert set(rows) == {"output logits, batched", "served"}
    assert "gives 1 answers to a batch of 2" in rows["served"].detail
    assert "shape (1, 3) found, so the batch axis is frozen" in rows["output logits, batched"].detail


def test_one_case_is_enough_to_try_a_batch(tmp_path, make_bundle, make_classifier):
    bundle = make_bundle(tmp_path / "bundle", images=np.full((1, 4, 4, 3), 9, np.uint8))
    assert failed(bundle) == {}
    onnx.save(make_classifier(frozen=True), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    assert set(failed(bundle)) == {"output logits, batched"}


def test_batches_keep_to_the_largest_and_a_fixed_axis_is_not_stacked(tmp_path, make_bundle):
    images = np.random.default_rng(3).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    bundle = make_bundle(tmp_path / "bundle", images=images)
    port = bundle.manifest.main.inputs[0]
    bundle.replace_main(inputs=[msgspec.structs.replace(port, max=[2, 3, 4, 4])])
    # 2 + 2 + the fifth twice
    assert {row.check: row.n for row in verify_bundle(bundle.path).rows}["output logits, batched"] == 6
    bundle.replace_main(inputs=[msgspec.structs.replace(port, axes=[1, 3, 4, 4], max=[1, 3, 4, 4])])
    assert "output logits, batched" not in {row.check for row in verify_bundle(bundle.path).rows}


def test_artifacts_that_cannot_run_here_are_listed(bundle):
    good = bundle.manifest.main.artifacts[0]
    others = [  # an engine is not loaded unless its maker is trusted, be it verified elsewhere
        msgspec.structs.replace(
            good, name="trt", spec=ExportSpec(format="tensorrt"), status="not-run", files=[]
        ),
        msgspec.structs.replace(good, name="rtx", spec=ExportSpec(format="tensorrt-rtx"), files=[]),
        msgspec.structs.replace(good, name="int8", status="rejected", files=[]),
    ]
    bundle.replace_main(artifacts=[good, *others])
    result = verify_bundle(bundle.path)
    assert result
    assert result.not_run == ["trt", "rtx"]
    bundle.replace_main(artifacts=others)
    bundle.replace(default_artifact="trt")
    with pytest.raises(
        UnfitEnvironmentError, match=r"no verified artifact of a format that runs here .*trt, rtx"
    ):
        verify_bundle(bundle.path)


@pytest.fixture
def mixed(bundle):
    """The bundle with a verified engine beside fp32, which no machine can open."""
    (bundle.path / "artifacts/trt.engine").write_bytes(b"an engine of another machine")
    engine = msgspec.structs.replace(
        bundle.manifest.main.artifacts[0],
        name="trt",
        spec=ExportSpec(format="tensorrt"),
        files=[file_entry(bundle.path, "artifacts/trt.engine")],
    )
    bundle.replace_main(artifacts=[engine, *bundle.manifest.main.artifacts])
    return bundle


def test_an_engine_that_does_not_open_here_is_not_run_and_the_rest_is_verified(mixed):
    result = verify_bundle(mixed.path, threads=1, trust=True)  # threads, of which an engine has none
    assert result
    assert {row.artifact for row in result.rows} == {"bundle", "fp32"}
    assert result.not_run == ["trt"]
    assert set(result.reasons) == {"trt"}
    assert result.reasons["trt"]
    untrusted = verify_bundle(mixed.path, threads=1)
    assert untrusted.not_run == ["trt"]
    assert "an engine is code" in untrusted.reasons["trt"]


def test_only_if_nothing_opens_is_it_an_error(mixed):
    with pytest.raises(UnfitEnvironmentError):
        verify_bundle(mixed.path, runtime="tensorrt", trust=True)


def test_a_package_that_is_missing_is_a_reason_as_long_as_another_runs(bundle, monkeypatch):
    good = bundle.manifest.main.artifacts[0]
    other = msgspec.structs.replace(good, name="other", runtimes=["openvino"])
    bundle.replace_main(artifacts=[other, good])
    monkeypatch.setitem(sys.modules, "openvino", None)
    result = verify_bundle(bundle.path)
    assert (result.passed, result.not_run) == (True, ["other"])
    assert "compactor-toolkit[openvino]" in result.reasons["other"]
    with pytest.raises(MissingDependency, match=r"compactor-toolkit\[openvino\]"):
        verify_bundle(bundle.path, runtime="openvino")


def test_an_engine_that_is_asked_for_without_trust_names_trust(mixed):
    with pytest.raises(UsageError, match=r"artifact 'trt': an engine is code .*trust=True \(--trust\)"):
        verify_bundle(mixed.path, runtime="tensorrt")


def test_a_missing_limit_or_array_is_damage(bundle):
    bundle.replace_artifact(limits={})
    with pytest.raises(IntegrityError, match="'fp32' states no limit for output 'logits'"):
        verify_bundle(bundle.path)
    bundle.replace_artifact(limits={"logits": 1e-4})
    change_tensor(bundle, "case-0.in", lambda feed: feed[0])
    with pytest.raises(
        IntegrityError, match=r"shape \[3, 4, 4\] found for 'pixel_values' of golden case 'case-0'"
    ):
        verify_bundle(bundle.path)
    change_tensor(bundle, "case-0.in", lambda feed: feed[None])
    change_case(bundle, outputs={"logits": "nowhere"})
    with pytest.raises(IntegrityError, match="no array found for 'logits' of golden case 'case-1'"):
        verify_bundle(bundle.path)
    change_case(bundle, outputs={"logits": "case-1.out"}, decoded={"label": "red", "index": 0})
    with pytest.raises(IntegrityError, match="decoded result of golden case 'case-1': .* `confidence`"):
        verify_bundle(bundle.path)
    (bundle.path / "golden/tensors.safetensors").write_bytes(b"nothing")
    bundle.rehash()
    with pytest.raises(IntegrityError, match="is not a safetensors file"):
        verify_bundle(bundle.path)


def test_the_tokenizer_that_is_checked_is_the_one_that_is_hashed(tmp_path):
    bundle = open_bundle(write_slot_bundle(tmp_path / "bundle").path)
    found = [check_preprocessing(bundle, pre, read_golden(bundle)) for pre in bundle.manifest.pre]
    assert all(row.passed for row in found)
    tokenizer = bundle.file(bundle.manifest.pre[0].tokenizer)
    tokenizer.write_bytes(tokenizer.read_bytes()[::-1])
    for again in (read_golden, lambda it: check_preprocessing(it, it.manifest.pre[0], [])):
        with pytest.raises(IntegrityError, match="damaged, sha256"):
            again(bundle)


def test_no_file_is_read_twice_where_a_bundle_is_opened(tmp_path, monkeypatch):
    path = write_slot_bundle(tmp_path / "bundle").path
    opened, real = [], Path.open
    monkeypatch.setattr(Path, "open", lambda self, *mode: (opened.append(self), real(self, *mode))[1])
    bundle = open_bundle(path)
    assert sorted(opened) == sorted(path / each for each in bundle.listed)
