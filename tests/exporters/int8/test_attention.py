"""Attention of a fused graph, taken apart so that its projections can be quantised."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array, to_array
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.int8.attention import split_attention
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.bundle.manifest import ExportSpec, InputPort, OutputPort
from tests.exporters.conftest import MaskedAttention

WIDTH, HEADS = 16, 2


def attention(*, parts=(WIDTH, WIDTH, WIDTH), mask=False, **attributes):
    """One Attention on x [B, L, 16] with a bias of the scores [B, heads, L, L], or with a mask [B, L]."""
    rng = np.random.default_rng(0)
    packed = sum(parts)
    inputs = ["x", "weight", "bias", *(["mask"] if mask else ["", "", "score_bias"])]
    node = helper.make_node(
        "Attention",
        inputs,
        ["y"],
        domain="com.microsoft",
        num_heads=HEADS,
        qkv_hidden_sizes=list(parts),
        **attributes,
    )
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "n", WIDTH])]
    ports += [
        helper.make_tensor_value_info("mask", TensorProto.INT32, ["b", "n"])
        if mask
        else helper.make_tensor_value_info("score_bias", TensorProto.FLOAT, ["b", HEADS, "n", "n"])
    ]
    weights = [
        from_array(rng.normal(size=(WIDTH, packed)).astype(np.float32), "weight"),
        from_array(rng.normal(size=packed).astype(np.float32), "bias"),
    ]
    graph = helper.make_graph(
        [node], "g", ports, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(model, feeds):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, feeds
    )[0]


@pytest.mark.parametrize("attributes", [{}, {"scale": 0.3}, {"unidirectional": 1}])
def test_the_parts_compute_what_the_whole_does(attributes):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 5, WIDTH)).astype(np.float32)
    seen = np.arange(5) < np.array([[5], [3], [1]])
    bias = np.broadcast_to(np.where(seen, 0, -1e4)[:, None, None], (3, HEADS, 5, 5)).astype(np.float32)
    model = attention(**attributes)
    before = run(model, {"x": x, "score_bias": bias})
    assert split_attention(model) == 1
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Split", "MultiHeadAttention"]
    np.testing.assert_allclose(run(model, {"x": x, "score_bias": bias}), before, atol=2e-6)
    assert np.abs(run(model, {"x": x, "score_bias": 0 * bias}) - before).max() > 0.1  # the mask counts


@pytest.mark.parametrize("model", [attention(parts=(8, 8, 32)), attention(mask=True)])
def test_other_attention_is_left_alone(model):
    whole = model.SerializeToString()
    assert split_attention(model) == 0
    assert model.SerializeToString() == whole


class Encoder(nn.Module):
    """Attention with a mask and a normalisation, as transformers writes them, and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(50, WIDTH), nn.LayerNorm(WIDTH)
        self.attention = MaskedAttention(WIDTH, HEADS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        x = self.norm(self.attention(x, attention_mask) + x)
        weights = attention_mask.unsqueeze(-1).to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


@pytest.mark.slow
def test_fused_int8_keeps_its_mask_and_has_8_bit_projections(tmp_path):
    torch.manual_seed(0)
    module = Encoder().eval()
    mask = (np.arange(12) < np.random.default_rng(0).integers(1, 13, (20, 1))).astype(np.int64)
    feeds = {
        "input_ids": np.random.default_rng(1).integers(1, 50, (20, 12)) * mask,
        "attention_mask": mask,
    }
    ports = [
        InputPort(name=name, dtype="int64", axes=["batch", "tokens"], min=[1, 1], max=[8, 24], role=role)
        for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
    ]
    source = ExportSource(
        name="toy-encoder",
        task="embedding",
        module=module,
        example={name: torch.from_numpy(values[:2]) for name, values in feeds.items()},
        inputs=ports,
        outputs=[OutputPort(name="embedding", dtype="float32", axes=["batch", WIDTH], role="embedding")],
        pre=[],
        post=[],
        labels={},
        student_weights=module.state_dict(keep_vars=True),
    )
    spec = ExportSpec(precision="int8", quantization="dynamic", fused=True)
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, spec, workspace)
    artifact = verify_artifact(source, artifact, workspace, feeds=feeds)
    assert artifact.status == "verified", artifact.reason
    assert {"padding", "precision"} <= {check.name for check in artifact.checks}
    assert artifact.made["from"] == "fp32-fused"
    assert artifact.made["attention_split"] == 1
    assert artifact.errors["embedding"].cosine > 0.99
    graph = onnx.load(tmp_path / "int8-dynamic-fused.onnx").graph
    counts = Counter(node.op_type for node in graph.node)
    assert (counts["MatMulInteger"], counts["MultiHeadAttention"]) == (2, 1)  # packed and output projection
    packed = {tuple(one.dims): to_array(one).dtype.name for one in graph.initializer}
    assert packed[(WIDTH, 3 * WIDTH)] in ("int8", "uint8")
    assert packed[(50, WIDTH)] in ("int8", "uint8")  # the embedding
