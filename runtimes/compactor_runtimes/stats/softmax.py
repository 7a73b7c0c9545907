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

    shifted = np.asarray(logits).astype(dtype, copy=False)
    powers: NDArray[Any] = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
