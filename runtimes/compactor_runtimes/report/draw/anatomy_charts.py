"""Charts of where time and memory go: stacked stages, a roofline, lines over time and over settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from compactor_runtimes.report.draw.charts import COLOURS, SERIES, Drawing, Scale, log_axis
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

_BAR = 0.62


@dataclass(frozen=True)
class Line:
    """One line: its points in order, its series, and whether what it shows is INVALID."""

    x: list[float]
    y: list[float]
    series: int
    dashed: bool = False


@dataclass(frozen=True)
class RoofPoint:
    """One graph under the roof: operations a byte and a second that were reached, hollow if INVALID."""

    intensity: float
    flops_per_s: float
    series: int
    hollow: bool = False


def stacked(names: Sequence[str], parts: Sequence[Sequence[float]]) -> str:
    """Draw a bar for each name, top to bottom, of parts in ns one after the other; part i has series i."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with Drawing() as drawing:
        axes = drawing.axes(height=0.8 + 0.42 * len(names))
        for number, values in enumerate(reversed(parts)):
            left = 0.0
            for part, value in enumerate(values):
                axes.barh(number, value, left=left, height=_BAR, color=COLOURS[f"s{part % SERIES}"])
                left += value
        axes.set_yticks(range(len(names)), list(reversed([_cut(name) for name in names])))
        axes.tick_params(axis="y", labelcolor=COLOURS["fg"], length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_ns(value) if value else "0"))
        axes.set_xlabel("median time of one sample")
        return drawing.svg("stacked", "")


def bars(names: Sequence[str], values: Sequence[float], series: int) -> str:
    """Draw a bar of ns for each name, top to bottom."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with Drawing() as drawing:
        axes = drawing.axes(height=0.7 + 0.26 * len(names))
        axes.barh(
            range(len(names)), list(reversed(values)), height=_BAR, color=COLOURS[f"s{series % SERIES}"]
        )
        axes.set_yticks(range(len(names)), list(reversed([_cut(name) for name in names])))
        axes.tick_params(axis="y", labelcolor=COLOURS["fg"], length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_ns(value) if value else "0"))
        axes.set_xlabel("mean time of a run of one sample")
        return drawing.svg("bars", "")


def roofline(points: Sequence[RoofPoint], *, flops_per_s: float, bytes_per_s: float) -> str:
    """Draw the roof that two peaks make, and how far below it each graph is."""
    knee = flops_per_s / bytes_per_s
    x = [*(point.intensity for point in points), knee / 4, knee * 4]
    y = [*(point.flops_per_s for point in points), flops_per_s]
    with Drawing() as drawing:
        axes = drawing.axes()
        log_axis(axes, "x", x, "FLOP/B")
        log_axis(axes, "y", y, "FLOP/s")
        low, high = axes.get_xlim()
        roof = [min(value * bytes_per_s, flops_per_s) for value in (low, knee, high)]
        axes.plot([low, knee, high], roof, color=COLOURS["muted"], linewidth=1.4)
        for point in points:
            colour = COLOURS[f"s{point.series % SERIES}"]
            face = COLOURS["bg"] if point.hollow else colour
            axes.scatter(
                point.intensity,
                point.flops_per_s,
                s=52,
                marker="D",
                facecolor=face,
                edgecolor=colour,
                zorder=3,
            )
        axes.set_xlabel("operations a byte that must move (logarithmic)")
        axes.set_ylabel("operations a second (logarithmic)")
        return drawing.svg("roofline", "")


def lines(
    found: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    y_scale: Scale | None = None,
    x_ticks: Sequence[float] = (),
) -> str:
    """Draw lines; with `x_ticks` x is one of these few settings."""
    from matplotlib.ticker import FuncFormatter

    with Drawing() as drawing:
        axes = drawing.axes()
        if y_scale is not None and y_scale != "B":
            log_axis(axes, "y", [value for line in found for value in line.y], y_scale)
        for line in found:
            places = [x_ticks.index(value) for value in line.x] if x_ticks else line.x
            axes.plot(
                places,
                line.y,
                color=COLOURS[f"s{line.series % SERIES}"],
                linestyle=(0, (3, 2)) if line.dashed else "-",
                marker="o" if len(line.x) < 16 else "",
                markersize=3.5,
            )
        if y_scale == "B":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, "B")))
            axes.margins(y=0.2)
        if x_ticks:
            axes.set_xticks(range(len(x_ticks)), [f"{value:g}" for value in x_ticks])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return drawing.svg("lines", x_label)


def _cut(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:33]}…"
