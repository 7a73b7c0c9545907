"""Tensors of the Open Inference Protocol as JSON and as bytes, in both directions.

1. Names, datatype, shape and number of elements are checked before data are decoded, so that nothing is made
   of a size that only a client has said.
2. Data in JSON are nested as the shape is, or flat in row-major order.
3. In bytes (the extension binary_tensor_data) numbers are little-endian; an element of BYTES has its length
   as four bytes before it.
"""

from base64 import b64encode
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.errors import UsageError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

# datatype of the protocol -> numpy's name of the type
DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
BYTES = "BYTES"
_OF_NUMPY = {name: datatype for datatype, name in DATATYPES.items()}
_LONGEST = 64  # characters of a number in JSON, blanks around it included
_LENGTH = 4  # bytes of a length


class TensorSpec(Struct, frozen=True):
    """What a model takes or gives: `shape` has -1 for sizes that vary, `least` and `most` bound each."""

    name: str
    datatype: str
    shape: list[int]
    least: list[int] = []
    most: list[int] = []

    def to_metadata(self) -> dict[str, Any]:
        """As the protocol lists it."""
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape}


def datatype_of(numpy_name: str) -> str | None:
    """The protocol's name of a number type; None where it has none that clients can send."""
    return _OF_NUMPY.get(numpy_name)


def check_shape(spec: TensorSpec, datatype: str, shape: Sequence[int]) -> int:
    """Rule 1: compare what a client says with what the model takes.

    Returns:
        the number of elements.

    Raises:
        UsageError: another datatype, number of axes or size.
    """
    if datatype != spec.datatype:
        raise UsageError(f"input {spec.name!r}: datatype {datatype[:20]!r} found, {spec.datatype} expected")
    if len(shape) != len(spec.shape) or not all(
        low <= size <= high for size, low, high in zip(shape, spec.least, spec.most, strict=True)
    ):
        bounds = zip(spec.least, spec.most, strict=True)
        shown = ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in bounds)
        raise UsageError(f"input {spec.name!r}: shape {list(shape)[:8]} found, [{shown}] expected")
    return prod(shape)


def array_from_json(name: str, data: bytes, datatype: str, shape: Sequence[int]) -> "NDArray[Any]":
    """Rule 2, of numbers.

    Args:
        name: begins the messages.
        data: the JSON text of the data.
        datatype: one of `DATATYPES`.
        shape: was checked.

    Raises:
        UsageError: no numbers of that type, or not as many as the shape says.
    """
    import numpy as np

    size = prod(shape)
    if len(data) > _LONGEST * size + 1024:
        raise UsageError(f"input {name!r}: more data found than a shape of {list(shape)} has")
    depth = _depth(data)
    if depth not in (1, len(shape)):
        raise UsageError(
            f"input {name!r}: data nested {depth} deep found, {len(shape)} as its shape, or flat, expected"
        )
    kind = bool if datatype == "BOOL" else float if datatype.startswith("FP") else int
    found = _decoded(name, data, kind, depth)
    try:
        with np.errstate(over="ignore"):
            array = np.array(found, DATATYPES[datatype])
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"input {name!r}: no {datatype} of shape {list(shape)} ({one_line(error)})"
        ) from error
    if array.shape != ((size,) if depth == 1 else tuple(shape)):
        raise UsageError(
            f"input {name!r}: data of shape {list(array.shape)} found, {list(shape)} or {size} flat expected"
        )
    return _finite(name, array.reshape(shape))


def array_from_bytes(name: str, data: memoryview, datatype: str, shape: Sequence[int]) -> "NDArray[Any]":
    """Rule 3, of numbers; the array is read-only and shares the memory of `data`.

    Raises:
        UsageError: not as many bytes as the shape says, or a BOOL other than 0 and 1.
    """
    import numpy as np

    dtype = np.dtype(DATATYPES[datatype]).newbyteorder("<")
    size = prod(shape) * dtype.itemsize
    if len(data) != size:
        raise UsageError(f"input {name!r}: {len(data):,} bytes found, {size:,} expected by its shape")
    if datatype == "BOOL" and (np.frombuffer(data, np.uint8) > 1).any():
        raise UsageError(f"input {name!r}: a BOOL other than 0 and 1 found")
    return _finite(name, np.frombuffer(data, dtype).reshape(shape))


def strings_from_json(name: str, data: bytes, count: int) -> list[str]:
    """Rule 2, of the strings of a BYTES tensor [N].

    Raises:
        UsageError: no list of strings, or not `count`.
    """
    if _depth(data) != 1:
        raise UsageError(f"input {name!r}: nested data found, a flat list of strings expected")
    found: list[str] = _decoded(name, data, str, 1)
    if len(found) != count:
        raise UsageError(f"input {name!r}: {len(found):,} elements found, {count:,} expected by its shape")
    return found


def elements_from_bytes(name: str, data: memoryview, count: int) -> list[bytes]:
    """Rule 3, of the elements of a BYTES tensor [N].

    Raises:
        UsageError: not `count` elements, or a length that is not that of what follows.
    """
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) <= count:
        start = at + _LENGTH
        length = int.from_bytes(data[at:start], "little")
        if start > len(data) or length > len(data) - start:
            raise UsageError(
                f"input {name!r}: element {len(found)} is cut off; send its length, then all of it"
            )
        at = start + length
        found.append(bytes(data[start:at]))
    if len(found) != count or at != len(data):
        raise UsageError(f"input {name!r}: other than {count:,} elements found, which its shape says")
    return found


def data_to_json(name: str, values: "NDArray[Any] | list[bytes]") -> list[Any]:
    """Values as flat data in JSON; BYTES that are no UTF-8 as base64.

    Raises:
        UsageError: NaN or infinity, which JSON has not.
    """
    import numpy as np

    if isinstance(values, list):
        return [_text(one) for one in values]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UsageError(f"output {name!r}: NaN or infinity, which JSON has not; ask for binary_data")
    flat: list[Any] = values.ravel().tolist()
    return flat


def data_to_bytes(values: "NDArray[Any] | list[bytes]") -> bytes:
    """Rule 3."""
    if isinstance(values, list):
        return b"".join(len(one).to_bytes(_LENGTH, "little") + one for one in values)
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()


def _depth(data: bytes) -> int:
    """How many brackets open before the first value; the shortest data are looked at, not all."""
    head = bytes(data[:256]).translate(None, b" \t\r\n")
    return len(head) - len(head.lstrip(b"["))


def _decoded(name: str, data: bytes, kind: Any, depth: int) -> Any:
    for _ in range(depth):
        kind = list[kind]
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"input {name!r}: data cannot be read ({one_line(error)})") from error


def _finite(name: str, array: "NDArray[Any]") -> "NDArray[Any]":
    import numpy as np

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(f"input {name!r}: NaN or infinity found, numbers expected")
    return array
