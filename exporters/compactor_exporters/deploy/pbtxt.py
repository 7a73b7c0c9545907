"""Triton's `config.pbtxt` as text, from names, types and sizes; its own schema is asked in the tests."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

_DELAY_US = 500  # that a request may wait for others


@dataclass(frozen=True)
class Tensor:
    """One input or output: its name, Triton's type, and its sizes without the batch, -1 where free."""

    name: str
    type: str
    dims: list[int]


Step = tuple[str, Sequence[Tensor], Sequence[Tensor]]
"""A model of an ensemble, with the tensors that it takes and gives, called as it calls them."""


def render_onnx(name: str, batch: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """A graph on the CPU by ONNX Runtime; requests that come together are one batch."""
    return "\n".join(
        [
            *_head(name, batch),
            'backend: "onnxruntime"',
            'default_model_filename: "model.onnx"',
            *_tensors(inputs, outputs),
            f"dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_US} }}",
            _ON_CPU,
        ]
    )


def render_python(name: str, batch: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """A model.py on the Python backend."""
    return "\n".join([*_head(name, batch), 'backend: "python"', *_tensors(inputs, outputs), _ON_CPU])


def render_ensemble(
    name: str, batch: int, given: Tensor, outputs: Sequence[Tensor], *, steps: Sequence[Step]
) -> str:
    """Models one after another; what passes between them has the name that both give it."""
    rendered = []
    for model, takes, gives in steps:
        maps = [f"      input_map {{ key: {_q(each.name)} value: {_q(each.name)} }}" for each in takes]
        maps += [f"      output_map {{ key: {_q(each.name)} value: {_q(each.name)} }}" for each in gives]
        rendered += ["    {", f"      model_name: {_q(model)}", "      model_version: -1", *maps, "    },"]
    rendered[-1] = "    }"
    return "\n".join(
        [
            *_head(name, batch),
            'platform: "ensemble"',
            *_tensors([given], outputs),
            "ensemble_scheduling {",
            "  step [",
            *rendered,
            "  ]",
            "}",
            "",
        ]
    )


_ON_CPU = "instance_group [ { kind: KIND_CPU count: 1 } ]\n"


def _head(name: str, batch: int) -> list[str]:
    return [f"name: {_q(name)}", f"max_batch_size: {batch}"]


def _tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    lines = []
    for kind, tensors in (("input", inputs), ("output", outputs)):
        rows = [
            f"  {{ name: {_q(each.name)} data_type: {each.type} dims: [ {', '.join(map(str, each.dims))} ] }}"
            for each in tensors
        ]
        lines += [f"{kind} [", ",\n".join(rows), "]"]
    return lines


def _q(text: str) -> str:
    """A string of the text format; JSON's escapes of ASCII are among its own."""
    return json.dumps(text)
