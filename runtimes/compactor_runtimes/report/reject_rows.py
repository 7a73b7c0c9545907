"""Compute the rows of what subjects reject from their logits."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.contents import Kind, RejectRow
from compactor_runtimes.stats.metrics import IGNORE, Interval, wilson
from compactor_runtimes.stats.rejection import rejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def reject_row(
    subject: str,
    kind: Kind,
    *,
    logits: "ArrayLike",
    labels: "ArrayLike",
    threshold: float,
    none: int | None,
    none_name: str,
    split: str,
) -> RejectRow:
    """Score what one subject keeps and rejects.

    Args:
        subject: its name.
        kind: what it is.
        logits: [N, C].
        labels: [N], -100 where there is none.
        threshold: of confidence, its own.
        none: index of the class that means "none of these", whose answers are rejected too.
        none_name: its name, empty where there is none.
        split: name of the split.
    """
    import numpy as np

    away, truth = rejected(logits, threshold, none), np.asarray(labels)
    known = truth != IGNORE
    kept_right = (np.asarray(logits).argmax(-1) == truth) & ~away
    outside = known & (truth == none) if none is not None else np.zeros_like(known)
    inside = known & ~outside
    return RejectRow(
        subject=subject,
        kind=kind,
        threshold=threshold,
        split=split,
        out_of_scope=none_name,
        rejected=_rate(away),
        kept_accuracy=_rate_or_none(kept_right[known & ~away]),
        in_scope_accuracy=None if none is None else _rate_or_none(kept_right[inside]),
        out_of_scope_recall=None if none is None else _rate_or_none(away[outside]),
    )


def _rate_or_none(hits: "NDArray[np.bool_]") -> Interval | None:
    return _rate(hits) if len(hits) else None


def _rate(hits: "NDArray[np.bool_]") -> Interval:
    """The share of hits with its Wilson interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return Interval(value=float(hits.mean()), low=low, high=high, n=len(hits))
