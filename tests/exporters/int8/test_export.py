"""8-bit copies: what is calibrated on, which number types, what ONNX Runtime makes of them."""

from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import to_array

from compactor_exporters import Workspace, can_export, export_artifact
from compactor_exporters.int8 import export as onnx_int8
from compactor_exporters.int8.calibration import Reader, sample_digests, without_common_padding
from compactor_exporters.int8.scheme import SCHEMES, dynamic_candidates, static_candidates
from compactor_exporters.verify.artifact import verify_artifact
from compactor_exporters.verify.text_samples import TextPorts
from compactor_runtimes.bundle.manifest import Artifact, Calibration, ExportSpec
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
from compactor_runtimes.report.decide.choice import slow_reason

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
    workspace = image.at(tmp_path)
    artifact = verify_artifact(source, export_artifact(source, spec, workspace), workspace, feeds=image.feeds)
    assert artifact.status == "verified", artifact.reason
    made = artifact.made["calibration"]
    assert (made["split"], made["samples"], len(made["sample_sha256"])) == ("train", 20, 20)
    assert artifact.made["scheme"] in artifact.made["tried"]
    untold = msgspec.structs.replace(
        artifact, made={**artifact.made, "calibration": {**made, "sample_sha256": made["sample_sha256"][:19]}}
    )
    untold = verify_artifact(source, untold, workspace, feeds=image.feeds)
    assert untold.status == "rejected"
    assert "calibration: 19 digests of calibration samples are recorded, 20 samples set" in untold.reason
    # the convolution and the linear layer; the conversion that gives the output is no unfused pair
    assert artifact.made["placement"] == {"int8_ops": 2, "float_ops": 0, "unfused_pairs": 0}
    types = {to_array(one).dtype.name for one in onnx.load(tmp_path / "int8-static.onnx").graph.initializer}
    assert types & {"int8", "uint8"}


def test_the_range_of_the_samples_sets_the_scale(image, tmp_path):
    """Pixels over [0, 1] are normalised to [-2, 2]: 4 / 255 a step, and zero lies at 128."""
    feeds = {"pixel_values": np.linspace(0, 1, 4 * 64, dtype=np.float32).reshape(4, 1, 8, 8)}
    source = replace(image.source, calibration=lambda wanted: feeds)
    export_artifact(
        source, ExportSpec(precision="int8", quantization="static", scheme="u8s8"), image.at(tmp_path)
    )
    graph = onnx.load(tmp_path / "int8-static.onnx").graph
    values = {one.name: to_array(one) for one in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    assert values[first.input[1]] == pytest.approx(4 / 255, rel=1e-4)
    assert values[first.input[2]] in (127, 128)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_ranges_of_batches_of_several_sizes_are_merged(image, tmp_path, capsys, method):
    """Samples 1 to 19 are grey, which is normalised to 0; the last, in a batch of 4, spans [-2, 2]."""
    pixels = np.full((20, 1, 8, 8), 0.5, np.float32)
    pixels[19] = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    source = replace(image.source, calibration=lambda wanted: {"pixel_values": pixels})
    calibration = Calibration(samples=20, method=method)
    export_artifact(
        source,
        ExportSpec(precision="int8", quantization="static", calibration=calibration),
        image.at(tmp_path),
    )
    graph = onnx.load(tmp_path / "int8-static.onnx").graph
    values = {one.name: to_array(one) for one in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    rarely = 0.05 if method != "minmax" else 1e-4  # histograms give the edge of a bin
    assert values[first.input[1]] == pytest.approx(4 / 255, rel=rarely)
    assert capsys.readouterr().out == ""  # onnxruntime.quantization prints


def test_texts_are_calibrated_without_the_padding_that_they_share():
    ports = TextPorts("ids", "mask", "tokens", low=2, high=12, pad_id=0)
    mask = (np.arange(12) < np.array([[5], [1], [3]])).astype(np.int64)
    feeds = {"ids": mask * np.array([[50], [10], [30]]), "mask": mask}
    reader = Reader(feeds, ports)
    assert len(reader) == 1
    batch = reader.get_next()
    assert reader.get_next() is None
    assert batch["mask"].sum(axis=1).tolist() == [1, 3, 5]  # like beside like, all tokens kept
    assert batch["ids"].tolist() == [[10, 0, 0, 0, 0], [30, 30, 30, 0, 0], [50] * 5]
    one = without_common_padding({name: values[1:2] for name, values in feeds.items()}, ports)
    assert one["ids"].tolist() == [[10, 0]]  # the graph takes two tokens and more


def test_a_reader_gives_the_batches_in_range():
    reader = Reader({"x": np.arange(40)})
    reader.set_range(1, 2)
    assert reader.get_next()["x"].tolist() == list(range(16, 32))
    assert reader.get_next() is None
    reader.set_range(2, 3)
    assert reader.get_next()["x"].tolist() == list(range(32, 40))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, "no data were given"), ({"calibration": lambda wanted: {"pixel_values": []}}, "'train' has none")],
)
def test_without_real_samples_static_is_refused(image, tmp_path, changes, said):
    with pytest.raises(UsageError, match=f"needs real samples for its ranges, .*{said}"):
        export_artifact(replace(image.source, **changes), STATIC, image.at(tmp_path))


def test_dynamic_int8_of_a_text_model_keeps_both_heads(text, tmp_path):
    source = text.source
    artifact = verify_artifact(
        source, export_artifact(source, DYNAMIC, text.at(tmp_path)), text.at(tmp_path), feeds=text.feeds
    )
    assert artifact.status == "verified", artifact.reason
    assert set(artifact.errors) == {"intent_logits", "slot_logits"}
    assert artifact.limits["slot_logits"] >= 2 * artifact.errors["slot_logits"].maximum


def test_a_cpu_that_saturates_tries_what_does_not(image, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_int8, "isa_flags", lambda: ["avx2"])
    source = calibrated(image)
    artifact = export_artifact(source, STATIC, image.at(tmp_path))
    assert set(artifact.made["tried"]) == {"u8s8-reduced", "u8u8"}
    assert artifact.made["tried"][artifact.made["scheme"]] == min(artifact.made["tried"].values())


def test_dynamic_tries_as_well_where_there_are_samples(text, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_int8, "isa_flags", lambda: ["avx2"])
    artifact = export_artifact(calibrated(text), DYNAMIC, text.at(tmp_path))
    assert set(artifact.made["tried"]) == {"u8s8-reduced", "u8u8"}
    tried, scheme = artifact.made["tried"], artifact.made["scheme"]
    assert tried[scheme] == min(tried.values())
    assert "saturates_without" not in artifact.made
    weights = [to_array(one) for one in onnx.load(tmp_path / "int8-dynamic.onnx").graph.initializer]
    heads = {one.dtype.name for one in weights if one.shape in ((16, 4), (16, 6))}
    assert heads == {"uint8" if scheme == "u8u8" else "int8"}  # the file is of the one that was taken


@pytest.mark.parametrize(
    ("isa", "spec", "static", "dynamic"),
    [
        (["avx2"], {}, ["u8s8-reduced", "u8u8"], ["u8s8-reduced"]),
        (["avx2", "avx512f"], {}, ["u8s8-reduced", "u8u8"], ["u8s8-reduced"]),
        (["avx2", "avx_vnni"], {}, ["u8s8"], ["u8s8"]),
        (["asimd", "dotprod"], {}, ["u8s8"], ["u8s8"]),
        (["avx2"], {"scheme": "u8s8"}, ["u8s8"], ["u8s8"]),
        (["avx2", "amx_int8"], {"target": "web"}, ["u8s8-reduced", "u8u8"], None),
        (["avx2", "amx_int8"], {"target": "trt"}, ["s8s8"], None),
    ],
)
def test_what_is_tried_depends_on_where_it_runs(isa, spec, static, dynamic):
    assert static_candidates(ExportSpec(precision="int8", quantization="static", **spec), isa) == static
    asked = ExportSpec(precision="int8", quantization="dynamic", **spec)
    assert (dynamic is None) is (can_export(asked) is not None)
    if dynamic is not None:
        assert dynamic_candidates(asked, isa, has_conv=False, has_samples=False) == dynamic


def test_convolutions_in_dynamic_mode_have_unsigned_weights():
    for isa in (["avx2"], ["avx512_vnni"]):
        assert dynamic_candidates(DYNAMIC, isa, has_conv=True, has_samples=True) == ["u8u8"]


def test_schemes_that_saturate_say_so(image, tmp_path):
    assert {name for name, scheme in SCHEMES.items() if scheme.saturates} == {"u8s8", "s8s8"}
    source = calibrated(image)
    for scheme, said in (("u8s8", "vnni"), ("u8s8-reduced", None)):
        spec = ExportSpec(precision="int8", quantization="static", scheme=scheme)
        assert export_artifact(source, spec, image.at(tmp_path)).made.get("saturates_without") == said


def test_int8_for_the_web_is_an_ordinary_graph(image, tmp_path):
    spec = ExportSpec(precision="int8", quantization="static", target="web")
    artifact = export_artifact(calibrated(image), spec, image.at(tmp_path))
    assert (artifact.name, artifact.reason) == ("int8-static-web", "")
    assert set(artifact.made["tried"]) == {"u8s8-reduced", "u8u8"}


def test_what_cannot_be_quantised_is_refused_in_one_sentence(image, tmp_path):
    from onnxruntime.quantization import quantize_static

    path, never = image.folder / image.artifact.files[0].path, tmp_path / "never.onnx"
    with pytest.raises(UnfitEnvironmentError, match=r"refuses the graph \(Either calibration_data_reader"):
        onnx_int8._quietly(lambda: quantize_static(path, never, None), image.source, never)


@pytest.mark.slow
def test_a_graph_without_products_has_nothing_to_quantise(tmp_path, make_image_source):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(10))

        def forward(self, pixel_values):
            return pixel_values.flatten(1)[:, :10] * self.weight

    with pytest.raises(UnfitEnvironmentError, match="none of its operators can be quantised; ship fp32"):
        export_artifact(make_image_source(Scaled()), DYNAMIC, Workspace(tmp_path))


def test_int8_for_tensorrt_is_symmetric_and_not_run(image, tmp_path):
    source = calibrated(image)
    spec = ExportSpec(precision="int8", quantization="static", target="trt")
    artifact = export_artifact(source, spec, image.at(tmp_path))
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


@pytest.mark.parametrize(
    ("spec", "placed", "isa", "said"),
    [
        (
            STATIC,
            {"int8_ops": 3, "float_ops": 1, "unfused_pairs": 14},
            ["avx2"],
            "no 8-bit dot products (VNNI) on this CPU, 14 QDQ pairs not fused, 1 of 4 products in float",
        ),
        (STATIC, {"int8_ops": 3, "float_ops": 0, "unfused_pairs": 1}, ["avx_vnni"], "1 QDQ pair not fused"),
        (STATIC, {"int8_ops": 3, "float_ops": 0, "unfused_pairs": 0}, ["avx_vnni"], ""),
        (
            DYNAMIC,  # what is read from an 8-bit embedding is converted; there are no pairs
            {"int8_ops": 3, "float_ops": 0, "unfused_pairs": 1},
            ["dotprod"],
            "ranges are computed at every run",
        ),
    ],
)
def test_why_int8_is_slow_is_said(spec, placed, isa, said):
    artifact = Artifact(
        name=spec.name, spec=spec, files=[], status="verified", made={"placement": placed}, isa=isa
    )
    assert slow_reason(artifact) == said
