"""8-bit copies: what is calibrated on, which number types, what ONNX Runtime makes of them."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

from compactor_exporters import can_export, export_artifact, onnx_int8
from compactor_exporters.int8_calibration import sample_digests
from compactor_exporters.verify import verify_artifact
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import Calibration, ExportSpec
from compactor_runtimes.report.slow_reason import slow_reason

STATIC = ExportSpec(precision="int8", quantization="static")
DYNAMIC = ExportSpec(precision="int8", quantization="dynamic")


def calibrated(exported):
    return replace(
        exported.source,
        calibration=lambda wanted: {k: v[: wanted.samples] for k, v in exported.feeds.items()},
    )


def test_static_int8_verifies_and_says_how_it_was_made(image, tmp_path):
    source = calibrated(image)
    spec = ExportSpec(precision="int8", quantization="static", calibration=Calibration(samples=20))
    artifact = verify_artifact(source, export_artifact(source, spec, tmp_path), tmp_path, feeds=image.feeds)
    assert artifact.status == "verified", artifact.reason
    made = artifact.made["calibration"]
    assert (made["split"], made["samples"], len(made["sample_sha256"])) == ("train", 20, 20)
    assert artifact.made["scheme"] in artifact.made["tried"]
    assert artifact.made["placement"]["int8_ops"] >= 2  # the convolution and the linear layer
    types = {to_array(one).dtype.name for one in onnx.load(tmp_path / "int8-static.onnx").graph.initializer}
    assert types & {"int8", "uint8"}


def test_the_range_of_the_samples_sets_the_scale(image, tmp_path):
    """Pixels over [0, 1] are normalised to [-2, 2]: 4 / 255 a step, and zero lies at 128."""
    feeds = {"pixel_values": np.linspace(0, 1, 4 * 64, dtype=np.float32).reshape(4, 1, 8, 8)}
    source = replace(image.source, calibration=lambda wanted: feeds)
    export_artifact(source, ExportSpec(precision="int8", quantization="static", scheme="u8s8"), tmp_path)
    graph = onnx.load(tmp_path / "int8-static.onnx").graph
    values = {one.name: to_array(one) for one in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    assert values[first.input[1]] == pytest.approx(4 / 255, rel=1e-4)
    assert values[first.input[2]] in (127, 128)


def test_without_real_samples_static_is_refused(image, tmp_path):
    with pytest.raises(UsageError, match="needs real samples"):
        export_artifact(image.source, STATIC, tmp_path)


def test_dynamic_int8_of_a_text_model_keeps_both_heads(text, tmp_path):
    source = text.source
    artifact = verify_artifact(source, export_artifact(source, DYNAMIC, tmp_path), tmp_path, feeds=text.feeds)
    assert artifact.status == "verified", artifact.reason
    assert set(artifact.errors) == {"intent_logits", "slot_logits"}
    assert artifact.limits["slot_logits"] >= 2 * artifact.errors["slot_logits"].maximum


def test_a_cpu_that_saturates_tries_what_does_not(image, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_int8, "isa_flags", lambda: ["avx2"])
    source = calibrated(image)
    artifact = export_artifact(source, STATIC, tmp_path)
    assert set(artifact.made["tried"]) == {"u8s8-reduced", "u8u8"}
    assert artifact.made["tried"][artifact.made["scheme"]] == min(artifact.made["tried"].values())


def test_int8_for_tensorrt_is_symmetric_and_not_run(image, tmp_path):
    source = calibrated(image)
    spec = ExportSpec(precision="int8", quantization="static", target="trt")
    artifact = export_artifact(source, spec, tmp_path)
    assert (artifact.name, artifact.status) == ("int8-static-trt", "not-run")
    assert "no NVIDIA GPU" in artifact.reason
    graph = onnx.load(tmp_path / "int8-static-trt.onnx").graph
    values = {one.name: to_array(one) for one in graph.initializer}
    zeros = [
        values[n.input[2]] for n in graph.node if n.op_type.endswith("QuantizeLinear") and len(n.input) > 2
    ]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ExportSpec(precision="int8", quantization="dynamic", target="trt"), "quantization static"),
        (ExportSpec(precision="int8", quantization="dynamic", calibration=Calibration()), "calibration"),
        (ExportSpec(precision="int8", quantization="dynamic", scheme="s8s8"), "unsigned"),
        (ExportSpec(precision="int8", quantization="static", target="trt", scheme="u8u8"), "s8s8"),
        (ExportSpec(precision="int8", quantization="static", gpus=["sm89"]), "gpus"),
    ],
)
def test_settings_without_effect_are_refused(spec, said):
    assert said in str(can_export(spec))


def test_digests_tell_samples_apart():
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    one, other = sample_digests(feeds), sample_digests({"x": feeds["x"][::-1]})
    assert one["sample_sha256"] == other["sample_sha256"][::-1]
    assert one["sha256"] != other["sha256"]


def test_why_int8_is_slow_is_said(image, tmp_path):
    source = calibrated(image)
    artifact = export_artifact(source, STATIC, tmp_path)
    slow = replace_made(artifact, {"int8_ops": 3, "float_ops": 1, "unfused_pairs": 14})
    assert slow_reason(slow) == (
        "no 8-bit dot products (VNNI) on this CPU, 14 QDQ pairs not fused, 1 of 4 products in float"
    )


def replace_made(artifact, placement):
    from msgspec.structs import replace as changed

    return changed(artifact, made={"placement": placement}, isa=["avx2"])
