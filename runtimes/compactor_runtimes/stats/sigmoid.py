"""The one sigmoid on numpy: in single precision where answers are served, in double where they are scored."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def sigmoid(logits: "ArrayLike", dtype: Literal["float32", "float64"] = "float32") -> "NDArray[Any]":
    """Probabilities of logits of any shape; no logit overflows, and far below 0 they keep their size."""
    import numpy as np

    values = np.asarray(logits, dtype)
    small = np.exp(-np.abs(values))  # in (0, 1]
    return np.asarray(np.where(values >= 0, 1 / (1 + small), small / (1 + small)), dtype)
