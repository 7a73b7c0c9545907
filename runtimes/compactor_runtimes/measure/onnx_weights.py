"""How many bytes the weights of an .onnx file have, and which are tables to look up in, without `onnx`.

The numbers of fields are those of onnx.proto; what is not asked for is stepped over.
"""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from compactor_runtimes.errors import IntegrityError

_GRAPH, _NODE, _INITIALISER, _SPARSE = 7, 1, 5, 15
_NODE_INPUT, _NODE_NAME, _NODE_KIND = 1, 3, 4
_VALUES, _DIMS, _TYPE, _TENSOR_NAME = 1, 1, 2, 8
# TensorProto.DataType -> bits of one element
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),  # int8, uint8, bool, float8 of five kinds
    **dict.fromkeys((4, 5, 10, 16), 16),  # int16, uint16, float16, bfloat16
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),  # uint4, int4, float4
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Weights(NamedTuple):
    """Bytes of each initialiser by name; name of a node that looks rows up in one that nothing else reads."""

    sizes: dict[str, int]
    lookups: dict[str, str]


def read_weights(source: Path) -> Weights:
    """Read what the main graph says of its initialisers, in external files too.

    Raises:
        IntegrityError: the file is missing or is no model.
    """
    try:
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graphs = _parts(data, 0, len(data), _GRAPH)
            sizes: dict[str, int] = {}
            lookups: dict[str, str] = {}
            for graph in graphs:
                sizes |= dict(_tensor(data, *tensor) for tensor in _tensors(data, *graph))
                lookups |= _lookups(data, graph, sizes)
            return Weights(sizes, lookups)
    except (OSError, ValueError, IndexError) as error:
        raise IntegrityError(
            f"{source}: cannot be read as an ONNX model ({error}); copy or export the model again"
        ) from error


def _tensors(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int]]:
    yield from _parts(data, start, end, _INITIALISER)
    for sparse in _parts(data, start, end, _SPARSE):
        yield from _parts(data, *sparse, _VALUES)


def _tensor(data: mmap.mmap, start: int, end: int) -> tuple[str, int]:
    """Name and bytes of a tensor."""
    axes, kind, name = [], 0, ""
    for field, wire, value, length in _fields(data, start, end):
        if field == _DIMS and wire == _LENGTH:  # packed
            at = value
            while at < value + length:
                axis, at = _varint(data, at)
                axes.append(axis)
        elif field == _DIMS:
            axes.append(value)
        elif field == _TYPE:
            kind = value
        elif field == _TENSOR_NAME:
            name = _text(data, value, length)
    return name, -(-prod(axes) * _BITS.get(kind, 0) // 8)


def _lookups(data: mmap.mmap, graph: tuple[int, int], sizes: dict[str, int]) -> dict[str, str]:
    """Name of a Gather -> the initialiser that it and its like alone read."""
    found: dict[str, str] = {}
    others: set[str] = set()
    for node in _parts(data, *graph, _NODE):
        inputs, name, kind = [], "", ""
        for field, _, value, length in _fields(data, *node):
            if field == _NODE_INPUT:
                inputs.append(_text(data, value, length))
            elif field == _NODE_NAME:
                name = _text(data, value, length)
            elif field == _NODE_KIND:
                kind = _text(data, value, length)
        if kind == "Gather" and name and inputs[0] in sizes:
            found[name] = inputs.pop(0)
        others.update(inputs)
    return {name: weight for name, weight in found.items() if weight not in others}


def _text(data: mmap.mmap, start: int, length: int) -> str:
    return data[start : start + length].decode("utf-8", errors="replace")


def _parts(data: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the messages of a field begin and end."""
    for field, wire, value, length in _fields(data, start, end):
        if field == wanted and wire == _LENGTH:
            yield value, value + length


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field, wire type, value (of a length-delimited field where it begins) and length of each field."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        value, length = at, 0
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _LENGTH:
            length, value = _varint(data, at)
            at = value + length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > end:
            raise ValueError(f"a field at byte {value} ends behind its message")
        yield field, wire, value, length


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"no number at byte {at}")
