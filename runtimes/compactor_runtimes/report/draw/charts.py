"""Draw a report's charts as SVG; text stays text, and colours are CSS variables that know light and dark.

matplotlib is given marker colours, which the finished drawing exchanges for `var(--name)`.
"""

import hashlib
import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compactor_runtimes.errors import needs_extra
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import PairedRow

Scale = Literal["ns", "B", "/s", "FLOP/s", "FLOP/B"]
SERIES = 8  # colours --s0 to --s7
WIDTH, HEIGHT = 5.0, 3.0  # inches at 72 units each
MOST_STEPS = 300  # of a distribution function
# what is drawn in these colours gets the CSS variable of the name
COLOURS = {
    "fg": "#010203",
    "muted": "#010204",
    "grid": "#010205",
    "bg": "#010206",
    "good": "#010207",
    "bad": "#010208",
} | {f"s{number}": f"#0102{number + 16:02x}" for number in range(SERIES)}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "compactor",
    "text.parse_math": False,  # names may hold dollar signs
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page's own font is set by its style sheet
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "text.color": COLOURS["fg"],
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Point:
    """One subject of a scatter: x with its range, y with its interval, and how it is marked."""

    x: float
    x_range: tuple[float, float]
    y: float
    y_range: tuple[float, float]
    series: int
    marker: str
    ringed: bool
    hollow: bool


def scatter(
    points: Sequence[Point], *, scale: Scale, x_label: str, y_label: str, y_scale: Scale | None = None
) -> str:
    """Draw y against x (logarithmic, as y is with a scale), with error bars; the shipped one has a ring."""
    with Drawing() as drawing:
        axes = drawing.axes()
        log_axis(axes, "x", [value for point in points for value in (point.x, *point.x_range)], scale)
        if y_scale is not None:
            log_axis(axes, "y", [value for point in points for value in (point.y, *point.y_range)], y_scale)
        for point in points:
            colour = COLOURS[f"s{point.series % SERIES}"]
            axes.errorbar(
                point.x,
                point.y,
                xerr=[[max(point.x - point.x_range[0], 0)], [max(point.x_range[1] - point.x, 0)]],
                yerr=[[max(point.y - point.y_range[0], 0)], [max(point.y_range[1] - point.y, 0)]],
                ecolor=colour,
                elinewidth=1.2,
                capsize=2.5,
                fmt="none",
                zorder=2,
            )
            face = COLOURS["bg"] if point.hollow else colour
            axes.scatter(
                point.x, point.y, s=52, marker=point.marker, facecolor=face, edgecolor=colour, zorder=3
            )
            if point.ringed:
                axes.scatter(
                    point.x,
                    point.y,
                    s=190,
                    marker="o",
                    facecolor="none",
                    edgecolor=COLOURS["fg"],
                    linewidth=1.1,
                    zorder=4,
                )
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if y_scale is None:
            axes.margins(y=0.12)
        return drawing.svg("scatter", x_label)


def forest(rows: "Sequence[PairedRow]") -> str:
    """Draw each step's change with its interval about zero."""
    with Drawing() as drawing:
        axes = drawing.axes(height=0.75 + 0.38 * len(rows))
        colours = {"noise": COLOURS["muted"], "better": COLOURS["good"], "worse": COLOURS["bad"]}
        for number, row in enumerate(reversed(rows)):
            value, colour = row.difference_points, colours[row.verdict]
            error = [[max(value - row.low, 0)], [max(row.high - value, 0)]]
            axes.errorbar(
                value, number, xerr=error, fmt="o", color=colour, ecolor=colour, capsize=3, markersize=6
            )
        axes.axvline(0, color=COLOURS["fg"], linewidth=0.9)
        axes.set_yticks(range(len(rows)), [row.step for row in reversed(rows)])
        axes.tick_params(axis="y", labelcolor=COLOURS["fg"], length=0)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("change in points; left of 0 is a loss")
        return drawing.svg("forest", "steps")


def distribution(measurements: "Sequence[tuple[Measurement, int]]") -> str:
    """Draw the share of samples that took at most so long, a line for each measurement and its series."""
    with Drawing() as drawing:
        axes = drawing.axes()
        log_axis(axes, "x", [value for one, _ in measurements for value in one.samples_ns], "ns")
        for one, series in measurements:
            ordered = sorted(one.samples_ns)
            count = min(len(ordered), MOST_STEPS)
            ranks = [math.ceil((step + 1) * len(ordered) / count) for step in range(count)]
            axes.step(
                [ordered[0], *(ordered[rank - 1] for rank in ranks)],
                [0.0, *(rank / len(ordered) for rank in ranks)],
                where="post",
                color=COLOURS[f"s{series % SERIES}"],
                linestyle="-" if one.valid else (0, (3, 2)),
            )
        axes.set_ylim(0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel("time of one sample")
        axes.set_ylabel("share of samples within that time")
        return drawing.svg("distribution", "")


def curves(epochs: Sequence[int], series: "dict[str, list[float | None]]", *, y_label: str) -> str:
    """Draw one line for each named series over the epochs; logarithmic where the values ask for it."""
    with Drawing() as drawing:
        axes = drawing.axes(height=2.5)
        known = [value for values in series.values() for value in values if value is not None]
        if known and min(known) > 0 and max(known) / min(known) > 30:
            axes.set_yscale("log")
        for number, values in enumerate(series.values()):
            points = [
                (epoch + 1, value) for epoch, value in zip(epochs, values, strict=True) if value is not None
            ]
            axes.plot(
                [epoch for epoch, _ in points],
                [value for _, value in points],
                color=COLOURS[f"s{number % SERIES}"],
                marker="o" if len(points) < 16 else "",
                markersize=3.5,
            )
        drawing.whole_numbers(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel(y_label)
        return drawing.svg("curves", y_label)


class Drawing:
    """A figure under our settings, without any state of pyplot; of use as a context alone."""

    def __enter__(self) -> "Drawing":
        """Take our settings.

        Raises:
            MissingDependency: matplotlib is not installed.
        """
        with needs_extra("report"):
            import matplotlib
            from matplotlib.figure import Figure
        self.settings = matplotlib.rc_context(_SETTINGS)
        self.settings.__enter__()
        self.figure = Figure()
        return self

    def __exit__(self, *exc: object) -> None:
        """Give them back."""
        self.settings.__exit__(None, None, None)

    def axes(self, *, height: float = HEIGHT) -> "Axes":
        """Return the only axes, `height` inches high."""
        self.figure.set_size_inches(WIDTH, height)
        self.figure.set_layout_engine("constrained")
        return self.figure.add_subplot()

    def whole_numbers(self, axes: "Axes") -> None:
        """Let x have ticks at whole numbers alone."""
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    def svg(self, kind: str, name: str) -> str:
        """Finish the drawing: no fixed size, no metadata, colours by variable, ids of its own."""
        stream = io.StringIO()
        with warnings.catch_warnings():  # of letters that our font lacks; the browser's has them
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            self.figure.savefig(stream, format="svg", metadata={"Date": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        text = re.sub(r"#0102[0-9a-f]{2}", lambda found: f"var(--{_NAMES[found[0]]})", text)
        prefix = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
        text = re.sub(r'\bid="', f'id="{prefix}', text)
        text = text.replace('href="#', f'href="#{prefix}').replace("url(#", f"url(#{prefix}")
        return text.strip()


_NAMES = {colour: name for name, colour in COLOURS.items()}


def log_axis(axes: "Axes", which: Literal["x", "y"], values: Sequence[float], scale: Scale) -> None:
    """Make an axis logarithmic over the positive values, with readable ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.15, max(positive) * 1.15
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(_log_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value, scale)))


def _shown(value: float, scale: Scale) -> str:
    """A tick with its unit, of which ratios have none."""
    if scale == "FLOP/B":
        return f"{value:g}"
    return _short(format_ns(value) if scale == "ns" else scaled(value, scale))


def _short(text: str) -> str:
    """`2.00 ms` -> `2 ms`: ticks are round numbers."""
    number, _, rest = text.partition(" ")
    return f"{float(number.replace(',', '')):g} {rest}"


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between low and high: the coarsest of three series that gives three, else equal steps."""
    decades = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    found: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
        if len(found) >= 3:
            return found[:: max(math.ceil(len(found) / 7), 1)]
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
