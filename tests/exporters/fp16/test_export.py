"""Float16 keeps the student's answers where a plain cast loses them, by the types as they are written.

ONNX Runtime computes most of float16 in float32 on a CPU and so hides an overflow; `strictly` runs a graph in
the reference evaluator of ONNX, which takes every type at its word.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, can_export, export_artifact
from compactor_exporters.fp16 import export as onnx_fp16
from compactor_exporters.fp16 import overflow as fp16_overflow
from compactor_exporters.graph.checks import check_ports
from compactor_exporters.verify.artifact import verify_artifact
from compactor_exporters.workspace import Graphs
from compactor_runtimes.bundle.manifest import Artifact, Calibration, ExportSpec
from compactor_runtimes.errors import NumericGateError

FP16 = ExportSpec(precision="fp16")
PIXELS = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)


def strictly(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a graph computes if each tensor has the type that the graph gives it."""
    model = onnx.load(path)
    with np.errstate(all="ignore"):
        answers = ReferenceEvaluator(model).run(None, feeds)
    return dict(zip([port.name for port in model.graph.output], answers, strict=True))


def exported(source: ExportSource, workspace: Workspace, **settings) -> Artifact:
    torch.manual_seed(0)
    return export_artifact(source, ExportSpec(precision="fp16", **settings), workspace)


def ratio(source: ExportSource, path: Path, feeds: dict[str, np.ndarray]) -> float:
    """Largest difference from torch by the largest output; NaN or infinite where an output is."""
    with torch.no_grad():
        expected = source.module(*(torch.from_numpy(feeds[port.name]) for port in source.inputs)).numpy()
    found = strictly(path, feeds)[source.outputs[0].name]
    with np.errstate(all="ignore"):
        return float(np.abs(found - expected).max() / np.abs(expected).max())


class Hidden(nn.Module):
    """A layer, something in between, and a layer."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(64, width), nn.Linear(width, 10)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.b(self.between(self.a(pixel_values.flatten(1))))


class Loud(Hidden):
    """Half a million in between, with no constant that is large."""

    def between(self, x: Tensor) -> Tensor:
        return x * 1000 * 1000 / 1000 / 1000


class LoudLogits(Hidden):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return super().forward(pixel_values) * 1000 * 1000


class LoudInput(Hidden):
    """The input is scaled by a constant beyond float16, and back."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return super().forward(pixel_values * 1e5 / 1000 / 100)


class Faint(Hidden):
    """Vectors of length 1 made of values whose squares are zero in float16."""

    def between(self, x: Tensor) -> Tensor:
        x = x * 1e-2 * 1e-2
        return x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-12)


class Epsilon(Hidden):
    """The logarithm of an epsilon, wherever the first layer gives nothing."""

    def between(self, x: Tensor) -> Tensor:
        return torch.log(torch.relu(x) + 1e-9)


class Masked(nn.Module):
    """Attention in which padding is masked as key and, twice, as query; -3e38 is finite in float32 alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens, real = self.embedding(input_ids), attention_mask.to(torch.float32)
        hidden = (1 - real)[..., None] * -1e38
        scores = tokens @ tokens.transpose(1, 2) + hidden.transpose(1, 2) + hidden + hidden
        mixed = torch.softmax(scores, -1) @ tokens
        return self.head((mixed * real[..., None]).sum(1) / real.sum(1, keepdim=True))


@pytest.fixture
def masked(text) -> ExportSource:
    module = Masked().eval()
    [output, _] = text.source.outputs
    return replace(
        text.source,
        module=module,
        outputs=[output],
        student_weights=module.state_dict(keep_vars=True),
    )


@pytest.fixture
def source_of(make_image_source):
    """A source of 8 x 8 images whose real samples are `PIXELS`."""

    def make(module: nn.Module) -> ExportSource:
        samples = {"pixel_values": PIXELS}
        return make_image_source(
            module,
            calibration=lambda wanted: {name: each[: wanted.samples] for name, each in samples.items()},
        )

    return make


def test_toys_are_verified_and_keep_their_ports(image, text, tmp_path):
    for toy in (image, text):
        artifact = exported(toy.source, toy.at(tmp_path / toy.source.name))
        assert (artifact.name, artifact.status, artifact.reason) == ("fp16", "not-run", "")
        folder = tmp_path / toy.source.name
        verified = verify_artifact(toy.source, artifact, toy.at(folder), feeds=toy.feeds)
        assert (verified.status, verified.reason) == ("verified", "")
        check_ports(onnx.load(folder / "fp16.onnx"), toy.source)
        # float16 has 11 bits: a thousandth of outputs of about 1
        assert all(1e-6 < error.maximum < 5e-3 for error in verified.errors.values())


def test_made_says_what_was_done(text, tmp_path):
    made = exported(text.source, text.at(tmp_path)).made
    assert made.pop("note").startswith(f"ONNX Runtime {made.pop('onnxruntime')} on this CPU computes ")
    assert 0.5 < made.pop("largest_activation") < 20
    assert made == {
        "from": "fp32",
        "kept_fp32": {"normalises or sums up": ["node_sum_2", "node_sum_1"], "no float16 operator": ["Max"]},
        "samples": 2,
        "samples_from": "example input",
    }
    assert "note" not in exported(text.source, text.at(tmp_path), target="trt").made


def test_the_file_is_half_as_large(make_image_source, tmp_path):
    source = make_image_source(Hidden(2000))
    workspace = Workspace(tmp_path)
    export_artifact(source, ExportSpec(), workspace)
    artifact = exported(source, workspace)
    # 64 * 2,000 + 2,000 + 2,000 * 10 + 10 weights, and a graph of a few nodes
    full = (tmp_path / "fp32.onnx").stat().st_size
    assert 4 * 150_010 < full < 4 * 150_010 + 10_000
    assert artifact.files[0].bytes == pytest.approx(full / 2, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "kept"),
    [
        (Loud, {"large on real samples": 2}),
        (LoudLogits, {"large on real samples": 1}),
        # the product, and after it two divisions and a reshape
        (LoudInput, {"constant beyond float16": 1, "beside a mask beyond float16": 3}),
        (Faint, {"normalises or sums up": 1, "part of a normalisation": 4}),
        (Epsilon, {"constant below float16": 2}),
    ],
)
def test_numbers_that_do_not_fit_stay_in_float32(source_of, tmp_path, monkeypatch, module, kept):
    source, workspace, feeds = source_of(module()), Workspace(tmp_path), {"pixel_values": PIXELS}
    artifact = exported(source, workspace)
    assert {reason: len(names) for reason, names in artifact.made["kept_fp32"].items()} == kept
    assert ratio(source, tmp_path / "fp16.onnx", feeds) < 5e-3
    verified = verify_artifact(source, artifact, workspace, feeds=feeds)
    assert (verified.status, verified.reason) == ("verified", "")
    # Kept nodes whose results are cast to float16 and back between them are no better than a plain cast ...
    with monkeypatch.context() as patch:
        patch.setattr(onnx_fp16, "_drop_round_trips", lambda graph: None)
        exported(source, workspace.inside("rounded"))
        assert not ratio(source, tmp_path / "rounded/fp16.onnx", feeds) < 0.05
    # ... and this is what a plain cast gives.
    monkeypatch.setattr(onnx_fp16, "kept_in_fp32", lambda graph, largest: {})
    exported(source, workspace.inside("plain"))
    assert not ratio(source, tmp_path / "plain/fp16.onnx", feeds) < 0.05


@pytest.mark.slow
def test_a_mask_that_the_samples_do_not_show_stays_in_float32(masked, text, tmp_path, monkeypatch):
    mask = text.feeds["attention_mask"]
    feeds = {"input_ids": text.feeds["input_ids"], "attention_mask": mask}
    assert masked.calibration is None
    assert mask.min() == 0  # padding here, none in the example that the magnitudes are taken from
    workspace = Workspace(tmp_path)
    artifact = exported(masked, workspace)
    kept = artifact.made["kept_fp32"]
    assert len(kept["constant beyond float16"]) == 1
    assert len(kept["beside a mask beyond float16"]) == 4  # a transposition and three sums
    assert artifact.made["largest_activation"] < 100
    assert ratio(masked, tmp_path / "fp16.onnx", feeds) < 5e-3
    verified = verify_artifact(masked, artifact, workspace, feeds=feeds)
    assert (verified.status, verified.reason) == ("verified", "")
    monkeypatch.setattr(fp16_overflow, "_masked", lambda overflow: set())
    exported(masked, workspace.inside("careless"))
    assert np.isnan(ratio(masked, tmp_path / "careless/fp16.onnx", feeds))


@pytest.mark.slow
def test_headroom_is_a_quarter(source_of, tmp_path):
    class Scaled(Hidden):
        def between(self, x: Tensor) -> Tensor:
            return x * 100

    source = source_of(Scaled())
    largest = exported(source, Workspace(tmp_path)).made["largest_activation"]
    with torch.no_grad():
        expected = source.module.a(torch.from_numpy(PIXELS).flatten(1)).abs().max().item() * 100
    assert largest == pytest.approx(expected, rel=1e-5)
    graph = ir.load(tmp_path / "canonical/fp32.onnx").graph
    [product] = [node for node in graph if node.op_type == "Mul"]
    for magnitude, keeps in ((65504 / 4 * 0.99, False), (65504 / 4 * 1.01, True)):
        kept = fp16_overflow.kept_in_fp32(graph, {product.outputs[0].name: magnitude})
        # its producer and its consumer
        assert len(kept.get("large on real samples", [])) == (2 if keeps else 0)


def test_magnitudes_are_of_finite_values_of_all_samples(tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    nodes = [helper.make_node("Log", ["x"], ["log"]), helper.make_node("Neg", ["log"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:1], ports[1:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    onnx.save(model, tmp_path / "g.onnx")
    feeds = {"x": np.array([0, 1, np.exp(-5), np.exp(3)], np.float32)}
    found = fp16_overflow.largest_activations(tmp_path / "g.onnx", feeds, batch=1)
    assert found == pytest.approx({"x": np.exp(3), "log": 5, "y": 5})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "taken", "split"), [(None, 32, "train"), (Calibration(split="select", samples=5), 5, "select")]
)
def test_the_samples_are_the_recipes(make_image_source, tmp_path, wanted, taken, split):
    asked: list[Calibration] = []

    def calibration(given: Calibration) -> dict[str, np.ndarray]:
        asked.append(given)
        return {"pixel_values": np.resize(PIXELS, (given.samples, 1, 8, 8))}

    source = make_image_source(Hidden(), calibration=calibration)
    made = exported(source, Workspace(tmp_path), calibration=wanted).made
    assert (made["samples"], made["samples_from"]) == (taken, split)
    assert [(each.samples, each.split) for each in asked] == [(taken, split)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"target": "trt-rtx"}, None),
        ({"calibration": Calibration(samples=8)}, None),
        ({"calibration": Calibration(method="entropy")}, "takes no calibration.method"),
        ({"scheme": "u8u8"}, "onnx/fp16 takes no scheme"),
        ({"gpus": ["sm89"]}, "onnx/fp16 takes no gpus"),
        ({"fused": True}, "onnx/fp16/fused has no exporter"),
    ],
)
def test_a_setting_without_effect_is_refused(settings, words):
    reason = can_export(ExportSpec(precision="fp16", **settings))
    assert reason is None if words is None else words in str(reason)


def test_a_graph_that_cannot_be_cast_is_refused(source_of, tmp_path):
    """A branch with an operator that has no float16 form: the converter puts its casts outside."""
    graph = helper.make_graph
    value = helper.make_tensor_value_info
    branches = {
        name: graph(
            [
                helper.make_node("MatMul", ["flat", "w"], [f"{name}-product"]),
                helper.make_node("Max", [f"{name}-product", "half"], [name]),
            ],
            name,
            [],
            [value(name, TensorProto.FLOAT, None)],
        )
        for name in ("then_branch", "else_branch")
    }
    model = helper.make_model(
        graph(
            [
                helper.make_node("Flatten", ["pixel_values"], ["flat"]),
                helper.make_node("ReduceMax", ["flat"], ["most"], keepdims=0),
                helper.make_node("Greater", ["most", "half"], ["bright"]),
                helper.make_node("If", ["bright"], ["logits"], **branches),
            ],
            "g",
            [value("pixel_values", TensorProto.FLOAT, ["batch", 1, 8, 8])],
            [value("logits", TensorProto.FLOAT, ["batch", 10])],
            [
                onnx.numpy_helper.from_array(np.ones((64, 10), np.float32), "w"),
                onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "branches.onnx")
    workspace = Workspace(tmp_path, Graphs(canonical=tmp_path / "branches.onnx"))
    with pytest.raises(NumericGateError, match="is of no use once cast to float16"):
        exported(source_of(Hidden()), workspace)
