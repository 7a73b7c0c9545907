"""Draw a pool: how many images each class has, and how sure the teachers were of candidates and pool."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compactor.pool.inspect import PoolInspection
from compactor.pool.inspect_terminal import described_take
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
CANDIDATES, POOL = "#94a3b8", "#1d4ed8"
MOST_NAMED = 40  # classes whose names stand below their bars


def plot_pool(found: PoolInspection, path: Path) -> None:
    """Write the plot.

    Raises:
        UsageError: the file is called neither .png nor .svg.
        MissingDependency: the extra `report` is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: expected a name that ends with {' or '.join(SUFFIXES)}")
    with needs_extra("report"):
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    format = path.suffix.lower()[1:]
    # the same numbers give the same file, whenever it is drawn
    with rc_context({"svg.hashsalt": found.digest, "font.size": 10}):
        figure = Figure(figsize=(10, 7), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        classes, confidence = figure.subplots(2, 1)
        _classes(classes, found)
        _confidence(confidence, found)
        with written_whole(path) as partial:
            figure.savefig(partial, format=format, metadata={"Date": None} if format == "svg" else None)


def _classes(axes: "Axes", found: PoolInspection) -> None:
    record = found.record
    places = np.arange(len(record.classes))
    width = 0.9 if len(places) <= MOST_NAMED else 1.0
    axes.bar(places, record.eligible, width, color=CANDIDATES, label="candidates that are no copies")
    axes.bar(places, record.histogram, width, color=POOL, label="in the pool")
    if len(places) <= MOST_NAMED:
        axes.set_xticks(places, record.classes, rotation=30 if len(places) > 12 else 0, fontsize=8)
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_xlabel("class (by the teachers)")
    axes.set_ylabel("images")
    title = f"{record.recipe}: {record.kept:,} of {record.candidates:,} images, {described_take(record)}"
    axes.set_title(title, loc="left", fontweight="bold")
    _finish(axes)


def _confidence(axes: "Axes", found: PoolInspection) -> None:
    one = found.record.confidence
    axes.stairs(one.candidates, one.edges, fill=True, color=CANDIDATES, label="candidates")
    axes.stairs(one.kept, one.edges, fill=True, color=POOL, label="in the pool")
    axes.set_yscale("symlog", linthresh=10)  # most images of a good teacher lie in the last bin
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence: the teachers' largest probability")
    axes.set_ylabel("images (log scale)")
    _finish(axes)


def _finish(axes: "Axes") -> None:
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, frameon=False, fontsize=8)
