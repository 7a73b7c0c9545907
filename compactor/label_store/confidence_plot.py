"""Draw how sure the teachers were: the distribution of their largest probability, with FerKD's thresholds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compactor.label_store.inspect import Confidences, Inspection
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = ("png", "svg")
COLOURS = {"train": "#1d4ed8", "select": "#c2410c", "report": "#15803d"}
MARKED = ("q05", "q20", "q50", "q80")
LEAST, MOST = 0.02, 1 - 1e-5  # beyond, values are drawn at the border
TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
BINS = 30


def plot_confidences(found: Inspection, folder: Path) -> list[Path]:
    """Write confidence.png and confidence.svg.

    The x axis is the log-odds of the confidence: most views of a good teacher lie so close to 1 that a linear
    one would show a single bar.

    Raises:
        UsageError: the store has no confidences.
        MissingDependency: the extra `report` is not installed.
    """
    if not found.confidences:
        raise UsageError(f"label store {found.folder}: {found.no_confidences}; leave --plot out")
    with needs_extra("report"):
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    # the same numbers give the same file, whenever it is drawn
    with rc_context({"svg.hashsalt": found.header.source_digest, "font.size": 10}):
        figure = Figure(figsize=(9, 5), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, found.confidences)
        _describe(axes, found)
        paths = [folder / f"confidence.{suffix}" for suffix in SUFFIXES]
        for path in paths:
            format = path.suffix[1:]
            with written_whole(path) as partial:
                figure.savefig(partial, format=format, metadata={"Date": None} if format == "svg" else None)
    return paths


def log_odds(values: Any) -> NDArray[np.float64]:
    """Places on the x axis: log(p / (1 - p)), cut to [LEAST, MOST]."""
    cut = np.clip(np.asarray(values, dtype=np.float64), LEAST, MOST)
    return np.asarray(np.log(cut / (1 - cut)))


def _draw(axes: "Axes", all_parts: list[Confidences]) -> None:
    lowest = min(float(one.values.min()) for one in all_parts)
    edges = np.linspace(float(log_odds(lowest)), float(log_odds(MOST)), BINS + 1)
    for number, one in enumerate(all_parts):
        counts = np.histogram(log_odds(one.values), bins=edges)[0]
        kind = "views" if one.split == "train" else "whole samples"
        label = f"{one.split}: {one.values.size:,} {kind}, {100 * one.above(0.99):.1f}% above 0.99"
        percent = 100 * counts / one.values.size
        if number == 0:
            axes.stairs(percent, edges, fill=True, color=COLOURS[one.split], alpha=0.3, label=label)
        else:
            axes.stairs(percent, edges, color=COLOURS[one.split], linewidth=1.4, label=label)
    axes.set_xlim(edges[0], edges[-1])


def _describe(axes: "Axes", found: Inspection) -> None:
    for text, value, colour in _lines(found):
        place = float(log_odds(value))
        axes.axvline(place, color=colour, linestyle="--", linewidth=1)
        axes.annotate(
            text,
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            rotation=30,
            fontsize=8,
            color=colour,
        )
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= float(log_odds(tick)) <= high + 1e-9]
    axes.set_xticks([float(log_odds(tick)) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(
        f"confidence: largest probability (log-odds scale; what is above {MOST:g} is drawn there)"
    )
    axes.set_ylabel(f"share of the views in each of {BINS} bins (%)")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    title = f"{found.header.data}: how sure the teachers are of what they labelled"
    axes.set_title(title, loc="left", fontweight="bold", pad=40)


def _lines(found: Inspection) -> list[tuple[str, float, str]]:
    """Text, place and colour of the vertical lines: the thresholds or, without any, quantiles of train.

    Thresholds on the probability of the ground truth have no place on this axis.
    """
    if found.bins is None or found.bins.thresholds.confidence != "max":
        quantiles = found.confidences[0].quantiles
        return [(f"{name} {_plain(quantiles[name])}", quantiles[name], "#404040") for name in MARKED]
    limits = found.bins.report["limits"]
    return [
        (f"{name} {_plain(value)}", value, "#b91c1c") for name, value in limits.items() if value is not None
    ]


def _plain(value: float) -> str:
    """More digits the closer it is to 1."""
    return f"{value:.3f}" if value < 0.99 else f"{value:.5f}"
