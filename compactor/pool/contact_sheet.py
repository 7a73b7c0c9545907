"""Draw pairs of images side by side, so that somebody can see whether what was removed was a copy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compactor.pool.near_duplicates import Match
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import written_whole

COLUMNS = 4
MOST = 400
"""Pairs on one sheet; more would be too small to see."""


class Pair(Struct, frozen=True):
    """An image of the pool and what it is shown beside.

    Attributes:
        image: uint8 [H, W, C].
        title: Which image it is, such as its row.
        other: The reference that it copies, or that it is nearest to; None = it is shown alone.
        match: Why it is removed; None = it is kept.
    """

    image: NDArray[np.uint8]
    title: str
    other: NDArray[np.uint8] | None = None
    match: Match | None = None


def contact_sheet(pairs: Sequence[Pair], path: Path) -> Path:
    """Write a PNG of the first MOST pairs, in order: the image left, the reference right, why below.

    Raises:
        MissingDependency: the extra `report` is not installed.
    """
    with needs_extra("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    shown = pairs[:MOST]
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = Figure(figsize=(3 * COLUMNS, 2.1 * rows), dpi=100, layout="constrained")
    cells = figure.subplots(rows, 2 * COLUMNS, squeeze=False)
    for cell in cells.flat:
        cell.set_axis_off()
    for number, pair in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        left, right = cells[row, 2 * column], cells[row, 2 * column + 1]
        _show(left, pair.image, pair.title)
        if pair.other is not None:
            name = f"reference {pair.match.reference}" if pair.match else "nearest"
            _show(right, pair.other, name)
        why = left.text(0, -0.06, caption(pair.match), transform=left.transAxes, fontsize=7, va="top")
        why.set_in_layout(False)  # it is wider than its image
    FigureCanvasAgg(figure)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png")
    return path


def caption(match: Match | None) -> str:
    """Say why an image is removed, in one line."""
    if match is None:
        return "kept"
    return f"removed: {match.check} {match.score:.3f}, {match.transform}"


def _show(cell: Any, image: NDArray[np.uint8], title: str) -> None:
    grey = image.shape[2] == 1
    cell.imshow(
        image[..., 0] if grey else image,
        cmap="gray" if grey else None,
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )
    cell.set_title(title, fontsize=7)
