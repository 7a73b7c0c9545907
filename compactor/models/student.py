"""What every trainable model gives: named inputs and outputs, an example, and the module to deploy."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from compactor.records import DataInfo, Head
from compactor_runtimes.bundle.manifest import InputPort, OutputPort


class Student(nn.Module):
    """A model of a task; `backbone` holds all weights that are saved, under the keys of its family.

    forward(**inputs) returns {head: logits, or vectors}. `untrained` names the weights that
    `weights: pretrained` did not bring and that are therefore random, such as a new head's.
    """

    backbone: nn.Module
    info: DataInfo
    untrained: Sequence[str] = ()

    @property
    @abstractmethod
    def inputs(self) -> list[InputPort]:
        """The graph's inputs."""

    @property
    @abstractmethod
    def outputs(self) -> list[OutputPort]:
        """The graph's outputs, one for each head: raw logits or an embedding."""

    @abstractmethod
    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Inputs of the right shapes."""

    @abstractmethod
    def saved(self) -> dict[str, Any]:
        """Settings of the wrapper that a model folder keeps beside the weights (fields of ModelSpec)."""

    def deploy(self) -> nn.Module:
        """Return the module to export: tensors in the order of `inputs`, a tuple in that of `outputs`.

        It holds this student and nothing else: no adapter, no extra head, no teacher.
        """
        return _Deployed(self).eval()


class _Deployed(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.names = [port.name for port in student.inputs]
        self.heads = [port.labels or port.name for port in student.outputs]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answers = self.student(**dict(zip(self.names, tensors, strict=True)))
        return tuple(answers[head] for head in self.heads)


def port_of(head: Head, axes: list[str | int]) -> OutputPort:
    """The graph's output of a head: raw logits, or the vectors themselves."""
    if head.activation == "none":
        return OutputPort(name=head.output, dtype="float32", axes=axes, role="embedding")
    return OutputPort(name=head.output, dtype="float32", axes=axes, role="logits", labels=head.name)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
