"""What single classes score: counts of truth against answer, and recall, precision and F1 out of them.

Labels are class indices, -100 where there is none; `metrics.py` holds what is one number a model.
"""

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

IGNORE = -100


def confusion_counts(labels: "ArrayLike", top1: "ArrayLike", num_classes: int) -> "NDArray[np.int64]":
    """Count how often class j (column) was answered for class i (row).

    Args:
        labels: [...] class indices, -100 ignored.
        top1: [...] answered class indices.
        num_classes: C.

    Returns:
        int64 [C, C].

    Raises:
        ValueError: the shapes differ, or an index is not in [0, C).
    """
    import numpy as np

    truth, answer = np.asarray(labels, np.int64), np.asarray(top1, np.int64)
    if truth.shape != answer.shape:
        raise ValueError(
            f"confusion_counts: got labels {truth.shape} and answers {answer.shape}, expected the same"
        )
    keep = truth != IGNORE
    truth, answer = truth[keep], answer[keep]
    for name, indices in (("label", truth), ("answer", answer)):
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < num_classes:
            raise ValueError(
                f"confusion_counts: got {name}s from {indices.min()} to {indices.max()}, "
                f"expected class indices below {num_classes}"
            )
    counts = np.bincount(truth * num_classes + answer, minlength=num_classes * num_classes)
    return cast("NDArray[np.int64]", counts.reshape(num_classes, num_classes))


def recall(counts: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """Share of each class's samples that were found; NaN for a class without samples; counts [C, C]."""
    return _ratio(counts.diagonal(), counts.sum(1))


def f1(counts: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """F1 of each class: 2 found / (samples + answers); NaN for a class neither there nor answered."""
    return _ratio(2 * counts.diagonal(), counts.sum(1) + counts.sum(0))


def mean_f1(counts: "NDArray[np.int64]") -> float:
    """Macro-F1: mean F1 of the classes that are there or were answered, all counting alike; counts [C, C]."""
    import numpy as np

    return float(np.nanmean(f1(counts)))


def _ratio(part: "NDArray[np.int64]", whole: "NDArray[np.int64]") -> "NDArray[np.float64]":
    import numpy as np

    found = np.full(len(whole), np.nan)
    return cast("NDArray[np.float64]", np.divide(part, whole, out=found, where=whole > 0))
