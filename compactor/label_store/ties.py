"""Say where a threshold at a quantile leaves its bin nearly empty because many views share its value.

Views on a threshold are kept (calibrate.py), and a teacher that is certain gives many of them the same value.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compactor.label_store.thresholds import Thresholds

LEAST_OF_ASKED = 0.5  # share of the views that a quantile promises, below which it is said


def told_ties(
    confidence: NDArray[np.float32], thresholds: Thresholds, limits: Mapping[str, float | None]
) -> list[str]:
    """A sentence for each quantile whose ties keep most of what it should drop or relabel.

    Args:
        confidence: of all views.
        thresholds: as they were given.
        limits: the same as values.
    """
    if thresholds.unit != "quantiles":
        return []
    told = []
    for name, does, beyond in (
        ("low", "drops", "above"),
        ("mid", "reaches", "above"),
        ("top", "drops", "below"),
    ):
        quantile, limit = getattr(thresholds, name), limits[name]
        if quantile is None or limit is None:
            continue
        asked = 1 - quantile if name == "top" else quantile
        outside = confidence > limit if name == "top" else confidence < limit
        found, tied = float(outside.mean()), float((confidence == np.float32(limit)).mean())
        at = f"{name}: the quantile {quantile:g} is {limit:.6g}"
        if found < LEAST_OF_ASKED * asked and tied >= asked - found:
            told.append(
                f"{at}, which {100 * tied:.1f}% of the views have, "
                f"so that it {does} {100 * found:.1f}% of them, not {100 * asked:.1f}%; to take those too, "
                f"give a value {beyond} it (unit: values)"
            )
    return told
