"""Which answers of a classifier are rejected, as `predict.answers.classes` decides it, for many at once."""

from typing import TYPE_CHECKING, Any

from compactor_runtimes.stats.softmax import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def confidences(logits: "ArrayLike") -> "NDArray[np.float64]":
    """Probability [N] of the top class of logits [N, C], rounded as it is where answers are served."""
    import numpy as np

    return np.asarray(softmax(logits).max(-1), np.float64)


def rejected(logits: "ArrayLike", below: float, none: int | None) -> "NDArray[np.bool_]":
    """Tell which answers [N] of logits [N, C] have a confidence below `below`, or are the class `none`."""
    import numpy as np

    found: NDArray[Any] = confidences(logits) < below
    return found if none is None else found | (np.asarray(logits).argmax(-1) == none)
