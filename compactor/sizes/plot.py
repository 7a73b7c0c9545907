"""Draw what `plan --sizes` found: latency against parameters, one labelled point a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor.sizes.result import SizeRow, Sizes
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import written_whole
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"student": "#c2410c", "teacher": "#1d4ed8", "candidate": "#404040"}
SUFFIXES = ("svg", "png")
# where a label may go, in points from its point: (x, y, horizontal alignment), the first free place is taken
PLACES = [
    (9, 0, "left"),
    (-9, 0, "right"),
    (0, 13, "center"),
    (0, -13, "center"),
    *((x, y, align) for y in (14, -14, 26, -26, 38, -38) for x, align in ((9, "left"), (-9, "right"))),
]


def plot_sizes(sizes: Sizes, folder: Path) -> list[Path]:
    """Write sizes.svg and sizes.png; error bars hold the middle half of the samples.

    Raises:
        MissingDependency: the extra `report` is not installed.
    """
    with needs_extra("report"):
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    rows = [row for row in sizes.rows if row.compute]
    # the same numbers give the same file, whenever it is drawn
    with rc_context({"svg.hashsalt": sizes.recipe, "font.size": 10}):
        figure = Figure(figsize=(9, 5.5), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.18, y=0.14)
        for row in rows:
            _draw(axes, row)
        if len([row for row in rows if row.is_teacher]) > 1 and sizes.teachers_ns:
            axes.axhline(sizes.teachers_ns / 1e6, color=COLOURS["teacher"], linestyle="--", linewidth=1)
            axes.annotate(
                f"all teachers {format_ns(sizes.teachers_ns)}",
                (0.01, sizes.teachers_ns / 1e6),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                color=COLOURS["teacher"],
            )
        _describe(axes, sizes, rows)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()  # only then is it known where a point lies
        _label(axes, rows, canvas.get_renderer())
        paths = [folder / f"sizes.{suffix}" for suffix in SUFFIXES]
        for path in paths:
            format = path.suffix[1:]
            with written_whole(path) as partial:
                figure.savefig(partial, format=format, metadata={"Date": None} if format == "svg" else None)
    return paths


def kind(row: SizeRow) -> str:
    """What the row is to the recipe."""
    return "student" if row.is_student else "teacher" if row.is_teacher else "candidate"


def quartiles_ns(samples_ns: list[int]) -> tuple[int, int]:
    """The samples with a quarter below and a quarter above them (nearest ranks)."""
    ordered = sorted(samples_ns)
    quarter = len(ordered) // 4
    return ordered[quarter], ordered[-1 - quarter]


def _draw(axes: "Axes", row: SizeRow) -> None:
    """Draw the point and its bar; an invalid one is hollow."""
    assert row.compute is not None
    low, high = quartiles_ns(row.compute.samples_ns)
    middle, colour = row.median_ns, COLOURS[kind(row)]
    axes.errorbar(
        [row.parameters],
        [middle / 1e6],
        yerr=[[(middle - low) / 1e6], [(high - middle) / 1e6]],
        fmt="s" if row.is_teacher else "o",
        markersize=8 if row.is_student else 6,
        color=colour,
        markerfacecolor=colour if row.compute.valid else "white",
        capsize=3,
        linewidth=1,
    )


def _describe(axes: "Axes", sizes: Sizes, rows: list[SizeRow]) -> None:
    with needs_extra("report"):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xlabel("parameters")
    axes.set_ylabel("compute time of one sample")
    for axis, write in (
        (axes.xaxis, lambda value, _: _round(scaled(value, ""))),
        (axes.yaxis, lambda value, _: _round(format_ns(value * 1e6))),
    ):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(write))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    fewest = min((row.compute.n for row in rows if row.compute), default=0)
    hollow = any(row.compute and not row.compute.valid for row in rows)
    axes.set_title(
        f"{sizes.recipe}: what a student costs before it is trained", loc="left", fontweight="bold"
    )
    note = (
        f"random weights, ONNX fp32, {sizes.environment.get('cpu') or 'CPU'}, profile {sizes.profile}, "
        f"n >= {fewest}; bars: middle half of the samples{'; hollow: INVALID' if hollow else ''}"
    )
    axes.annotate(
        note, (0, 0), xycoords="axes fraction", xytext=(0, -46), textcoords="offset points", fontsize=8
    )


def _label(axes: "Axes", rows: list[SizeRow], renderer: Any) -> None:
    """Name every point at the first place where the name covers no other name, point or border."""
    taken = []
    for row in rows:
        x, y = axes.transData.transform((row.parameters, row.median_ns / 1e6))
        taken.append(_square(x, y))
    frame = axes.get_window_extent(renderer)
    for row in rows:
        what = "" if kind(row) == "candidate" else f" ({kind(row)})"
        text = f"{row.name}{what}\n{format_ns(row.median_ns)}"
        for dx, dy, align in PLACES:
            label = axes.annotate(
                text,
                (row.parameters, row.median_ns / 1e6),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=8,
                color=COLOURS[kind(row)],
            )
            box = label.get_window_extent(renderer)
            inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy, align) != PLACES[-1]:
                label.remove()
        taken.append(box)


def _round(text: str) -> str:
    """Ticks are round numbers: `20.0 k` -> `20 k`."""
    number, space, unit = text.partition(" ")
    return f"{float(number):g}{space}{unit}"


def _square(x: float, y: float) -> Any:
    with needs_extra("report"):
        from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - 8, y - 8, 16, 16)
