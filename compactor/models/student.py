"""What every trainable model gives: named inputs and outputs, an example, and the module to deploy."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from compactor.models.features import Feature, before_linear_head
from compactor.records import PENULTIMATE, DataInfo, Head
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.errors import UsageError


class Student(nn.Module):
    """A model of a task; `backbone` holds all weights that are saved, under the keys of its family.

    forward(**inputs) returns {head: logits, or vectors}. `untrained` names the weights that
    `weights: pretrained` did not bring and that are therefore random, such as a new head's. `declared` are
    the features that its family knows of. `class_note` says how its classes became the data's, `size_note`
    how images become its size, for people. `hidden_by` is what keeps its inner tensors from being seen: the
    runtime that a teacher's answers come from.
    """

    backbone: nn.Module
    info: DataInfo
    untrained: Sequence[str] = ()
    class_note: str = ""
    size_note: str = ""
    declared: Mapping[str, Feature] = {}
    hidden_by: str = ""

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

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Inner tensors that objectives may name: those declared, and what one linear layer makes logits of.

        The model runs once to find the latter, `penultimate`, unless its family declares it.
        """
        if PENULTIMATE in self.declared:
            return dict(self.declared)
        found = before_linear_head(self, self.example())
        return {**self.declared, **({} if found is None else {PENULTIMATE: found})}

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


def features_named(
    names: frozenset[str], model: nn.Module, role: Literal["student", "teacher"], *, at: str
) -> dict[str, Feature]:
    """Find features of a model by name; `at` says which option asks for them.

    Raises:
        UsageError: the model does not have one of them.
    """
    known = model.features if names and isinstance(model, Student) else {}
    for name in sorted(names - known.keys()):
        if isinstance(model, Student) and model.hidden_by:
            raise UsageError(
                f"{at}: compares the feature {name!r}, but a {role} on {model.hidden_by} shows no inner "
                "tensors; remove its runtime, or leave the option out"
            )
        backbone = type(model.backbone if isinstance(model, Student) else model).__name__
        raise UsageError(
            f"{at}: compares the feature {name!r}, which the {role}'s {backbone} does not have (it has "
            f"{', '.join(sorted(known)) or 'none'}); leave the option out, or name another model"
        )
    return {name: known[name] for name in names}


def port_of(head: Head, axes: list[str | int]) -> OutputPort:
    """The graph's output of a head: raw logits, or the vectors themselves."""
    if head.activation == "none":
        return OutputPort(name=head.output, dtype="float32", axes=axes, role="embedding")
    return OutputPort(name=head.output, dtype="float32", axes=axes, role="logits", labels=head.name)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
