"""A stand-in for Triton's module of its Python backend: it holds tensors, and is nothing of Triton's."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class Tensor:
    """A name and an array."""

    named: str
    values: Any

    def name(self):
        return self.named

    def as_numpy(self):
        return self.values


@dataclass
class InferenceRequest:
    """Tensors that are given."""

    tensors: list[Tensor]


@dataclass
class InferenceResponse:
    """Tensors that are answered, or why not."""

    output_tensors: list[Tensor] = field(default_factory=list)
    error: Any = None


class TritonError(Exception):
    """What a request's answer says of its failure."""


def get_input_tensor_by_name(request, name):
    return next((each for each in request.tensors if each.named == name), None)


def stand_in():
    """Return the module."""
    module = ModuleType("triton_python_backend_utils")
    for each in (Tensor, InferenceRequest, InferenceResponse, TritonError, get_input_tensor_by_name):
        setattr(module, each.__name__, each)
    return module
