"""Teachers that something else than torch in fp32 computes: what they stand in for, and what they hide."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from compactor.models.on_runtime import InBfloat16, OnGraph
from compactor.models.student import features_named
from compactor.records import PENULTIMATE
from compactor_runtimes.errors import UsageError
from tests import toys


class Means:
    """A graph that answers with the mean pixel, three times, and remembers how many images it saw."""

    inputs, outputs, provider = ["pixel_values"], ["logits"], "by hand"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        pixels = feeds["pixel_values"]
        self.seen.append(len(pixels))
        return {"logits": np.repeat(pixels.mean((1, 2, 3))[:, None], 3, 1)}

    def close(self) -> None: ...


def test_a_graph_answers_batches_of_any_size_in_parts() -> None:
    model, graph = toys.classifier(), Means()
    teacher = OnGraph(model, "ort-fp32", graph)
    pixels = torch.arange(300.0).view(300, 1, 1, 1).expand(300, 1, 8, 8)
    found = teacher(pixel_values=pixels)
    assert graph.seen == [256, 44]
    torch.testing.assert_close(found["label"], torch.arange(300.0)[:, None].expand(300, 3))
    assert teacher.info is model.info
    assert not list(teacher.parameters())
    assert teacher.example(3)["pixel_values"].shape == (3, 1, 8, 8)


def test_bfloat16_rounds_and_answers_in_float32() -> None:
    model = toys.classifier().eval()
    pixels = model.example()["pixel_values"]
    with torch.no_grad():
        exact = model(pixel_values=pixels)["label"]
        found = InBfloat16(model, "torch-bf16")(pixel_values=pixels)["label"]
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0.02)


def test_what_lies_within_is_hidden() -> None:
    teacher = InBfloat16(toys.classifier(), "torch-bf16")
    with pytest.raises(UsageError, match=r"on torch-bf16 shows no inner tensors; remove its runtime"):
        features_named(frozenset({PENULTIMATE}), teacher, "teacher", at="stage toy.options")
