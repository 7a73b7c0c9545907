"""Attention over windows: five axes, with and without a mask, export and compute the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor_exporters import Workspace, export_artifact
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.bundle.manifest import ExportSpec


class Windows(nn.Module):
    """Two windows of four tokens, eight wide, with two heads: [B, H, W, L, D]."""

    def __init__(self, mask: tuple[int, ...] | None) -> None:
        super().__init__()
        self.packed, self.fc = nn.Linear(8, 24), nn.Linear(64, 10)
        self.register_buffer("mask", None if mask is None else torch.randn(mask))

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = pixel_values.reshape(-1, 2, 4, 8)
        query, key, value = self.packed(tokens).reshape(-1, 2, 4, 3, 2, 4).permute(3, 0, 4, 1, 2, 5).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.mask)
        return self.fc(attended.permute(0, 2, 3, 1, 4).reshape(-1, 64))


@pytest.mark.slow
@pytest.mark.parametrize("mask", [None, (4, 4), (2, 4, 4), (1, 2, 1, 4, 4)])
def test_attention_over_windows_ships(mask, tmp_path, make_image_source):
    source, workspace = make_image_source(Windows(mask)), Workspace(tmp_path)
    feeds = {"pixel_values": np.random.default_rng(0).random((8, 1, 8, 8), np.float32)}
    found = verify_artifact(source, export_artifact(source, ExportSpec(), workspace), workspace, feeds=feeds)
    assert found.status == "verified", found.reason
