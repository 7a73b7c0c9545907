"""The one softmax on numpy: in single precision where answers are served, in double where they are scored."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def softmax(logits: "ArrayLike", dtype: Literal["float32", "float64"] = "float32") -> "NDArray[Any]":
    """Softmax over the last axis, without overflow for any finite logits.

    Args:
        logits: [..., C] of any float type.
        dtype: what is computed in and returned.

    Returns:
        [..., C], each row summing to 1.
    """
    import numpy as np

    given = np.asarray(logits, np.float32 if dtype == "float32" else np.float64)
    # what max() and sum() call (axis, dtype, out, keepdims): of one sample calls are most of the time
    largest: Any = np.maximum.reduce
    total: Any = np.add.reduce
    rows = given.ndim > 1
    powers: NDArray[Any] = given - largest(given, -1, None, None, rows)
    np.exp(powers, powers)
    powers /= total(powers, -1, None, None, rows)
    return powers
