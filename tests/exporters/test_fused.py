"""The fused copy: which operators it holds, that it computes the same, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, can_export, export_artifact
from compactor_exporters.onnx_fused import fused_graph
from compactor_exporters.verify.artifact import verify_artifact
from compactor_exporters.verify.samples import MOST_TOKENS, shape_grid
from compactor_runtimes.bundle.manifest import ExportSpec, InputPort, OutputPort
from compactor_runtimes.errors import UnfitEnvironmentError
from tests.exporters.conftest import MaskedAttention

FUSED = ExportSpec(fused=True)
WIDTH, HEADS, VOCABULARY = 16, 2, 50


class Encoder(nn.Module):
    """One post-norm block of BERT on token ids and mask, as transformers writes it, and its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.attention = MaskedAttention(WIDTH, HEADS)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        x = self.norms[0](self.attention(x, attention_mask) + x)
        x = self.norms[1](self.down(nn.functional.gelu(self.up(x))) + x)
        weights = attention_mask.unsqueeze(-1).to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


class Patches(nn.Module):
    """One pre-norm block of a vision transformer of timm: query, key and value in one projection."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.qkv = nn.Conv2d(1, WIDTH, 4, 4), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.patch(pixel_values).flatten(2).transpose(1, 2)
        packed = self.qkv(self.norms[0](x)).reshape(x.shape[0], 4, 3, HEADS, WIDTH // HEADS)
        attended = nn.functional.scaled_dot_product_attention(*packed.permute(2, 0, 3, 1, 4).unbind(0))
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape[0], 4, WIDTH))
        return self.head(self.norms[1](x).mean(1))


def text_source(largest: int = 24) -> ExportSource:
    torch.manual_seed(0)
    module = Encoder().eval()
    axes: list[str | int] = ["batch", "tokens"]
    return ExportSource(
        name="toy-encoder",
        task="embedding",
        module=module,
        example={
            "input_ids": torch.randint(0, VOCABULARY, (2, 5)),
            "attention_mask": torch.ones(2, 5, dtype=torch.int64),
        },
        inputs=[
            InputPort(name=name, dtype="int64", axes=axes, min=[1, 1], max=[64, largest], role=role)
            for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
        ],
        outputs=[OutputPort(name="embedding", dtype="float32", axes=["batch", WIDTH], role="embedding")],
        pre=[],
        post=[],
        labels={},
        student_weights=module.state_dict(keep_vars=True),
    )


def operators(path: Path) -> dict[str, int]:
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    return {name: nodes.count(name) for name in nodes}


@pytest.fixture(scope="module")
def text_feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = (np.arange(12) < rng.integers(2, 13, (20, 1))).astype(np.int64)
    return {"input_ids": rng.integers(0, VOCABULARY, (20, 12)) * mask, "attention_mask": mask}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportSource, Any, Workspace]:
    source, workspace = text_source(), Workspace(tmp_path_factory.mktemp("fused"))
    return source, export_artifact(source, FUSED, workspace), workspace


def test_attention_and_gelu_fuse_and_the_record_says_so(text: tuple[ExportSource, Any, Workspace]) -> None:
    _, artifact, workspace = text
    assert artifact.made["from"] == "fp32"
    assert artifact.made["fused"] == {"Attention": 1, "BiasGelu": 1}
    found = operators(workspace.folder / "fp32-fused.onnx")
    assert (found["Attention"], found["BiasGelu"]) == (1, 1)
    assert "Softmax" not in found


def test_residual_sums_stay_apart_from_their_normalisation_even_when_loaded(
    text: tuple[ExportSource, Any, Workspace], tmp_path: Path
) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(text[2].folder / "fp32-fused.onnx", options, providers=["CPUExecutionProvider"])
    loaded = operators(tmp_path / "loaded.onnx")
    assert loaded["LayerNormalization"] == 2
    assert "SkipLayerNormalization" not in loaded


def test_the_fused_copy_is_held_to_the_limits_of_fp32(
    text: tuple[ExportSource, Any, Workspace], text_feeds: dict[str, np.ndarray]
) -> None:
    source, artifact, workspace = text
    verified = verify_artifact(source, artifact, workspace, feeds=text_feeds)
    assert (verified.status, verified.reason) == ("verified", "")
    assert {check.name: check.n for check in verified.checks}["padding"] == 8


def test_a_wrong_weight_in_the_fused_copy_is_found(
    text: tuple[ExportSource, Any, Workspace], text_feeds: dict[str, np.ndarray], tmp_path: Path
) -> None:
    source, artifact, workspace = text
    model = onnx.load(workspace.folder / "fp32-fused.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Attention")
    packed = next(each for each in model.graph.initializer if each.name == node.input[1])
    assert list(packed.dims) == [WIDTH, 3 * WIDTH]
    values = onnx.numpy_helper.to_array(packed).copy()
    values[0, 0] += 0.01
    packed.CopyFrom(onnx.numpy_helper.from_array(values, packed.name))
    onnx.save_model(model, tmp_path / "fp32-fused.onnx")
    changed = Workspace(tmp_path, workspace.graphs)
    assert verify_artifact(source, artifact, changed, feeds=text_feeds).status == "rejected"


@pytest.mark.slow
def test_a_packed_projection_of_a_vision_transformer_fuses(tmp_path: Path, make_image_source: Any) -> None:
    torch.manual_seed(0)
    source = make_image_source(Patches())
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, FUSED, workspace)
    assert artifact.made["fused"] == {"Attention": 1}
    assert "Split" not in operators(tmp_path / "fp32-fused.onnx")
    pixels = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    verified = verify_artifact(source, artifact, workspace, feeds={"pixel_values": pixels})
    assert verified.status == "verified"


def test_the_fused_graph_is_made_once(text: tuple[ExportSource, Any, Workspace], tmp_path: Path) -> None:
    source, _, workspace = text
    fused = workspace.graphs.fused
    assert fused is not None
    before = fused.stat().st_mtime_ns
    assert fused_graph(source, Workspace(tmp_path, workspace.graphs)) == fused == workspace.graphs.fused
    assert fused.stat().st_mtime_ns == before
    assert not list(tmp_path.iterdir())


def test_a_graph_in_which_nothing_fuses_is_refused(image: Any, tmp_path: Path) -> None:
    with pytest.raises(UnfitEnvironmentError, match="nothing to fuse in this graph; use the canonical graph"):
        export_artifact(image.source, FUSED, image.at(tmp_path))


def test_settings_without_effect_are_refused() -> None:
    assert can_export(FUSED) is None
    reason = can_export(ExportSpec(fused=True, scheme="u8u8"))
    assert reason == "onnx/fp32/fused takes no scheme; remove that or ask for another precision"


def test_the_canonical_graph_is_written_as_runtimes_know_it(
    text: tuple[ExportSource, Any, Workspace],
) -> None:
    model = onnx.load(text[2].graphs.canonical)
    made = {name: node for node in model.graph.node for name in node.output}
    found = operators(text[2].graphs.canonical)
    assert not {"GatherND", "Range", "CastLike"} & set(found)  # the mask is read as it is
    paths = []  # each Erf and the three operators after it
    for node in model.graph.node:
        if node.op_type == "Erf":
            users = [node]
            while len(users) < 4:
                users.append(next(n for n in model.graph.node if users[-1].output[0] in n.input))
            paths.append([user.op_type for user in users])
            assert made[node.input[0]].input[0] in users[2].input  # x * (1 + erf), and then the half
    assert paths == [["Erf", "Add", "Mul", "Mul"]]
    assert not any(value.type.tensor_type.HasField("shape") for value in model.graph.value_info)


def test_channels_last_weights_leave_no_trace(tmp_path: Path, make_image_source: Any) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))
            self.fc = nn.Linear(8, 10)

        def forward(self, pixel_values: Tensor) -> Tensor:
            return self.fc(nn.functional.adaptive_avg_pool2d(self.conv(pixel_values), 1).flatten(1))

    module = Pooled().to(memory_format=torch.channels_last)
    artifact = export_artifact(make_image_source(module), ExportSpec(), Workspace(tmp_path))
    found = operators(tmp_path / artifact.files[0].path)
    assert found.pop("Flatten", 0) + found.pop("Reshape", 0) == 1
    assert found == {"Conv": 2, "GlobalAveragePool": 1, "Gemm": 1}


@pytest.mark.parametrize(("longest", "large"), [(16, 64), (24, 42), (256, 4), (4096, 3)])
def test_the_largest_batch_of_long_texts_is_bounded(
    longest: int, large: int, text_feeds: dict[str, np.ndarray]
) -> None:
    shapes = [feeds["input_ids"].shape for feeds in shape_grid(text_source(longest), text_feeds)]
    assert shapes[:4] == [(1, 1), (2, 1), (7, 1), (64, 1)]
    batches = sorted({1, 2, 7 if large > 7 else 3, large})
    assert shapes[4:] == [(batch, longest) for batch in batches]
    assert large * longest <= max(MOST_TOKENS, 3 * longest)
