"""The requests and responses of inference in the Open Inference Protocol, as JSON with or without bytes.

1. The JSON of a request comes first; Inference-Header-Content-Length says where it ends and bytes begin.
2. The bytes of inputs follow in the order of the inputs, each as long as its binary_data_size says.
3. Outputs are given as bytes where they or the whole request ask for it, in the order that was asked for.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from compactor_runtimes.errors import UsageError, one_line
from compactor_runtimes.server.tensors import (
    BYTES,
    TensorSpec,
    array_from_bytes,
    array_from_json,
    check_shape,
    data_to_bytes,
    data_to_json,
    elements_from_bytes,
    strings_from_json,
)

if TYPE_CHECKING:
    pass

HEADER = "Inference-Header-Content-Length"
_MOST = 64  # inputs or outputs that a request may name
_UNKNOWN = ("classification", "shared_memory_region")  # extensions that would change the answer

Values = "NDArray[Any] | list[bytes]"


class _Input(Struct):
    """One input of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Raw | UnsetType = UNSET


class _Output(Struct):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class _Request(Struct):
    """The JSON of a request."""

    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


class Asked(NamedTuple):
    """What a request asks for: inputs by name, and of each output whether it is to come as bytes.

    An input of BYTES is a list: of str where it came as JSON, of bytes where it came as such.
    """

    id: str
    inputs: dict[str, Any]
    outputs: dict[str, bool]


def read_request(
    body: bytes, header_length: str | None, takes: Sequence[TensorSpec], gives: Sequence[TensorSpec]
) -> Asked:
    """Read a request for a model that takes and gives these tensors.

    Raises:
        UsageError: it is no request, or not for this model.
    """
    end = _header_end(header_length, len(body))
    try:
        request = msgspec.json.decode(memoryview(body)[:end], type=_Request)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(
            f'request: no inference request ({one_line(error)}); send JSON with "inputs"'
        ) from error
    parts: list[_Request | _Input | _Output] = [request, *request.inputs, *request.outputs]
    for parameters in (each.parameters for each in parts):
        for name in _UNKNOWN:
            if parameters.get(name):
                raise UsageError(f"parameter {name!r}: is not supported here; leave it out")
    specs = {each.name: each for each in takes}
    names = [each.name for each in request.inputs]
    if sorted(names) != sorted(specs):
        raise UsageError(f"inputs: {_shown(names)} found, {sorted(specs)} expected, each once")
    inputs: dict[str, Any] = {}
    rest = memoryview(body)[end:]
    for each in request.inputs:
        inputs[each.name], rest = _read(each, specs[each.name], rest)
    if rest:
        raise UsageError(
            f"request: {len(rest):,} bytes found after its last input; say their binary_data_size"
        )
    return Asked(request.id, inputs, _wanted(request, [each.name for each in gives]))


def write_response(
    model: str, asked: Asked, gives: Sequence[TensorSpec], values: "Mapping[str, Any]"
) -> tuple[bytes, dict[str, str]]:
    """Write the outputs that were asked for; `values` holds an array or a list of bytes for each.

    Returns:
        the body, and headers with its content type.

    Raises:
        UsageError: a number that JSON has not.
    """
    datatypes = {each.name: each.datatype for each in gives}
    outputs, binary = [], []
    for name, as_bytes in asked.outputs.items():
        found = values[name]
        shape = [len(found)] if isinstance(found, list) else list(found.shape)
        one: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": shape}
        if as_bytes:
            binary.append(data_to_bytes(found))
            one["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            one["data"] = data_to_json(name, found)
        outputs.append(one)
    said: dict[str, Any] = {"model_name": model, "outputs": outputs}
    if asked.id:
        said["id"] = asked.id
    head = msgspec.json.encode(said)
    if not binary:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER: str(len(head))}
    return b"".join([head, *binary]), headers


def _header_end(header_length: str | None, size: int) -> int:
    """Rule 1."""
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 16):
        raise UsageError(f"{HEADER}: {header_length[:20]!r} found, a number of bytes expected")
    if int(header_length) > size:
        raise UsageError(f"{HEADER}: {header_length} found, at most the {size} bytes of the body expected")
    return int(header_length)


def _read(given: _Input, spec: TensorSpec, rest: memoryview) -> tuple[Any, memoryview]:
    """Rule 2: one input, and the bytes that are left."""
    name, count = spec.name, check_shape(spec, given.datatype, given.shape)
    size = given.parameters.get("binary_data_size")
    if size is None:
        if given.data is UNSET:
            raise UsageError(f'input {name!r}: no data found; send "data", or bytes with binary_data_size')
        data = bytes(given.data)
        if spec.datatype == BYTES:
            return strings_from_json(name, data, count), rest
        return array_from_json(name, data, spec.datatype, given.shape), rest
    if given.data is not UNSET:
        raise UsageError(f'input {name!r}: both "data" and binary_data_size found, one of them expected')
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise UsageError(
            f"input {name!r}: binary_data_size {str(size)[:20]} found, at most the {len(rest):,} bytes after "
            "the JSON expected"
        )
    own, rest = rest[:size], rest[size:]
    if spec.datatype == BYTES:
        return elements_from_bytes(name, own, count), rest
    return array_from_bytes(name, own, spec.datatype, given.shape), rest


def _wanted(request: _Request, known: list[str]) -> dict[str, bool]:
    """Rule 3: names of outputs, and whether each is to come as bytes."""
    all_bytes = request.parameters.get("binary_data_output", False) is True
    if not request.outputs:
        return dict.fromkeys(known, all_bytes)
    names = [each.name for each in request.outputs]
    if not set(names) <= set(known) or len(set(names)) != len(names):
        raise UsageError(f"outputs: {_shown(names)} found, some of {known} expected, each once")
    return {each.name: each.parameters.get("binary_data", all_bytes) is True for each in request.outputs}


def _shown(names: list[str]) -> list[str]:
    return [name[:40] for name in names[:_MOST]]
