"""How far an artifact's outputs are from the student's: the statistics a manifest keeps of each."""

import math
from typing import TYPE_CHECKING, Any

from compactor_exporters.verify.findings import Arrays
from compactor_runtimes.bundle.manifest import OutputErrors, OutputPort

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def output_errors(pairs: list[tuple[Arrays, Arrays]], outputs: list[OutputPort]) -> dict[str, OutputErrors]:
    """Compare batches of student's and artifact's outputs on real samples.

    Args:
        pairs: for each batch the student's outputs and the artifact's, {name: [B, ...]}.
        outputs: the ports to tell of.

    Returns:
        One entry for each output; none where shapes differ or a value is not finite.
    """
    import numpy as np

    told = {}
    for port in outputs:
        sides = [(one[port.name], other[port.name]) for one, other in pairs]
        if any(one.shape != other.shape for one, other in sides):
            continue
        rows = [(_rows(one), _rows(other)) for one, other in sides]
        if not all(np.isfinite(one).all() and np.isfinite(other).all() for one, other in rows):
            continue
        gaps = [np.abs(one - other) for one, other in rows]
        flat = np.concatenate([each.ravel() for each in gaps])
        noise, signal = float(np.square(flat).sum()), float(sum(np.square(one).sum() for one, _ in rows))
        told[port.name] = OutputErrors(
            n=sum(map(len, gaps)),
            maximum=float(flat.max()),
            mean=float(flat.mean()),
            p99=float(np.quantile(flat, 0.99)),
            cosine=min(float(_cosines(one, other).min()) for one, other in rows),
            snr_db=10 * math.log10(signal / noise) if noise and signal else None,
            worst_sample=int(np.concatenate([each.max(axis=1) for each in gaps]).argmax()),
        )
    return told


def _rows(values: "NDArray[np.floating[Any]]") -> "NDArray[np.float64]":
    """[B, ...] to float64 [B, everything else]."""
    return values.astype("float64").reshape(len(values), -1)


def _cosines(one: "NDArray[np.float64]", other: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Cosine of each row, 1 where both are zero."""
    import numpy as np

    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.where(lengths > 0, (one * other).sum(axis=1) / np.where(lengths > 0, lengths, 1), 1.0)
