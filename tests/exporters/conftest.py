"""Two tiny students with their ports: images with BatchNorm, and text with two heads and free length."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_runtimes.bundle.manifest import (
    Artifact,
    DecodeImage,
    ExportSpec,
    ImagePre,
    InputPort,
    OutputPort,
    SoftmaxPost,
    ToFloat,
)

DIGITS = [str(digit) for digit in range(10)]


class Conv(nn.Module):
    """8 x 8 grey images, normalised inside, to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5))
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 8 * 8, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = (pixel_values - self.mean) / 0.25
        return self.fc(torch.relu(self.bn(self.conv(x))).flatten(1))


class Text(nn.Module):
    """Token ids and mask to a sentence head and a token head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.intent, self.slot = nn.Linear(16, 4), nn.Linear(16, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.embedding(input_ids)
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return self.intent((tokens * mask).sum(1) / mask.sum(1).clamp(min=1)), self.slot(tokens)


class MaskedAttention(nn.Module):
    """Attention over x [B, L, width] that sees the tokens of a mask [B, L], as transformers writes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        rows = torch.arange(batch)[:, None, None, None]
        columns = torch.arange(tokens)[None, None, None, :]
        seen = attention_mask.bool()[rows, columns].expand(-1, -1, tokens, -1)
        bias = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        query, key, value = (
            each(x).view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for each in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + bias
        attended = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape).contiguous()
        return self.out(attended)


def image_source(module: nn.Module, **changes: Any) -> ExportSource:
    source = ExportSource(
        name="toy-digits",
        task="image-classification",
        module=module.eval(),
        example={"pixel_values": torch.rand(2, 1, 8, 8)},
        inputs=[
            InputPort(
                name="pixel_values",
                dtype="float32",
                axes=["batch", 1, 8, 8],
                min=[1, 1, 8, 8],
                max=[16, 1, 8, 8],
                role="image",
            )
        ],
        outputs=[
            OutputPort(name="logits", dtype="float32", axes=["batch", 10], role="logits", labels="label")
        ],
        pre=[ImagePre(input="pixel_values", steps=[DecodeImage(mode="L"), ToFloat()])],
        post=[SoftmaxPost(output="logits", labels="label")],
        labels={"label": DIGITS},
        student_weights=module.state_dict(keep_vars=True),
    )
    return replace(source, **changes)


def text_source(module: nn.Module) -> ExportSource:
    ports = [
        InputPort(name=name, dtype="int64", axes=["batch", "tokens"], min=[1, 1], max=[8, 24], role=role)
        for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
    ]
    return ExportSource(
        name="toy-text",
        task="intent-slots",
        module=module.eval(),
        example={
            "input_ids": torch.randint(0, 50, (2, 5)),
            "attention_mask": torch.ones(2, 5, dtype=torch.int64),
        },
        inputs=ports,
        outputs=[
            OutputPort(name="intent_logits", dtype="float32", axes=["batch", 4], role="logits"),
            OutputPort(name="slot_logits", dtype="float32", axes=["batch", "tokens", 6], role="logits"),
        ],
        pre=[],
        post=[],
        labels={},
        student_weights=module.state_dict(keep_vars=True),
    )


@dataclass(frozen=True)
class Exported:
    """A source, its exported artifact, where that lies, and real samples."""

    source: ExportSource
    artifact: Artifact
    workspace: Workspace
    feeds: dict[str, np.ndarray]

    @property
    def folder(self) -> Path:
        return self.workspace.folder

    def at(self, folder: Path) -> Workspace:
        """A folder of a test's own, with the graphs that are traced already."""
        return Workspace(folder, self.workspace.graphs)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    module = Conv()
    with torch.no_grad():  # a BatchNorm whose folding would change every weight
        module.bn.weight.uniform_(0.5, 1.5)
        module.bn.bias.uniform_(-0.5, 0.5)
        module.bn.running_mean.uniform_(-0.5, 0.5)
        module.bn.running_var.uniform_(0.5, 2.0)
    source, workspace = image_source(module), Workspace(tmp_path_factory.mktemp("image"))
    artifact = export_artifact(source, ExportSpec(required=True), workspace)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.float32) / 255
    return Exported(source, artifact, workspace, {"pixel_values": pixels})


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    source, workspace = text_source(Text()), Workspace(tmp_path_factory.mktemp("text"))
    artifact = export_artifact(source, ExportSpec(), workspace)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 13, (20, 1))
    mask = (np.arange(12) < lengths).astype(np.int64)
    return Exported(
        source,
        artifact,
        workspace,
        {"input_ids": rng.integers(0, 50, (20, 12)) * mask, "attention_mask": mask},
    )


@pytest.fixture
def student_folder(tmp_path: Path, image: Exported) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path / "student"
    folder.mkdir()
    save_file(image.source.module.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model": "toy"}))
    return folder


@pytest.fixture(scope="session")
def make_image_source() -> Any:
    """`image_source`, for tests: test modules cannot import each other in importlib mode."""
    return image_source
