"""Teachers whose answers torch in fp32 does not compute: a graph they were exported to, or torch in bf16.

Each stands in for the model that it was made from, with its classes, inputs and normalisation, but shows no
inner tensors. Whether it is near enough to that model is asked in `compactor.release.teacher_runtimes`.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.student import Student
from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import InputPort, OutputPort


class Moved(Student):
    """What the two kinds share: all that is said of the model, and nothing of what it holds."""

    def __init__(self, model: Student, runtime: str, provider: str) -> None:
        """Take the place of `model`, of which no reference is kept.

        Args:
            model: the teacher in torch.
            runtime: its name in a recipe.
            provider: what the runtime says of itself.
        """
        super().__init__()
        self.info, self.class_note, self.size_note = model.info, model.class_note, model.size_note
        self.hidden_by, self.provider = runtime, provider
        self._inputs, self._outputs, self._saved = model.inputs, model.outputs, model.saved()
        self._example = model.example()

    @cached_property
    def features(self) -> dict[str, Feature]:
        """None: what lies within is not to be seen."""
        return {}

    @property
    def inputs(self) -> list[InputPort]:
        """Those of the model."""
        return self._inputs

    @property
    def outputs(self) -> list[OutputPort]:
        """Those of the model."""
        return self._outputs

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """The model's own example, repeated."""
        return {name: one[torch.arange(batch) % len(one)] for name, one in self._example.items()}

    def saved(self) -> dict[str, Any]:
        """What the model says."""
        return self._saved


class OnGraph(Moved):
    """A teacher whose exported graph answers; it has no parameters, so that nothing can train or save it."""

    def __init__(self, model: Student, runtime: str, graph: Runtime) -> None:
        """Stand in for `model` with its opened graph; the rest is as in `Moved`."""
        super().__init__(model, runtime, graph.provider)
        self.backbone = nn.Module()
        self._graph = graph
        self._heads = {port.name: port.labels or port.name for port in model.outputs}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Compute the raw answers of a batch of any size, float32 on the device of the inputs."""
        tensors = [inputs[port.name] for port in self._inputs]
        found = run_in_parts(self._graph, self._inputs, tensors)
        return {head: found[name] for name, head in self._heads.items()}


class InBfloat16(Moved):
    """A teacher that torch computes in bfloat16, where its autocast finds that safe."""

    def __init__(self, model: Student, runtime: str) -> None:
        """Stand in for `model`, which goes on to hold the weights."""
        super().__init__(model, runtime, f"torch {torch.__version__.partition('+')[0]} in bf16")
        self.backbone = model

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Compute the raw answers of a batch, float32."""
        device = next(iter(inputs.values())).device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            return {head: answer.float() for head, answer in self.backbone(**inputs).items()}


def run_in_parts(graph: Runtime, ports: Sequence[InputPort], tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Run a graph on a batch of any size, in parts of the largest batch that its inputs allow.

    Args:
        graph: the opened graph.
        ports: its inputs, in the order of `tensors`.
        tensors: a batch, on any device.

    Returns:
        Every output by name, on that device.
    """
    most = min(port.max[0] for port in ports)
    feeds = {
        port.name: np.ascontiguousarray(tensor.numpy(force=True), dtype=port.dtype)
        for port, tensor in zip(ports, tensors, strict=True)
    }
    parts = [
        graph.run({name: value[start : start + most] for name, value in feeds.items()})
        for start in range(0, len(tensors[0]), most)
    ]
    return {
        name: torch.cat([torch.from_numpy(part[name]) for part in parts]).to(tensors[0].device)
        for name in parts[0]
    }
