"""The figures of a report: which charts are drawn from it, with their captions and legends."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.speed import compute_latency
from compactor_runtimes.report.draw import charts
from compactor_runtimes.report.draw.charts import Point
from compactor_runtimes.report.format import (
    MAP,
    RANK_CORRELATION,
    artifact_bytes,
    artifact_name,
    marked,
    subjects_by_runtime,
    unique,
)
from compactor_runtimes.stats.percentiles import format_ns

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import AccuracyRow, Curve, Report

MARKERS = {"teacher": ("s", "■"), "student": ("o", "●"), "artifact": ("D", "◆")}
LINE = "━"


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a sign in the colour of a series, and what it stands for."""

    sign: str
    series: int
    text: str


@dataclass(frozen=True)
class Figure:
    """A chart with its title, what a reader should know, and the legend."""

    title: str
    svg: str
    caption: str
    keys: list[Key] = field(default_factory=list)


def series(report: "Report") -> dict[str, int]:
    """Number every subject, so that it has one colour in all charts."""
    names = [row.subject for row in report.accuracy] + [one.subject for one in report.measurements]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def trade_offs(report: "Report") -> list[Figure]:
    """Score against latency and against size."""
    numbers = series(report)
    metric = unique(row.metric for row in report.accuracy)
    rank = any(row.metric == RANK_CORRELATION for row in report.accuracy)
    y_label, factor = (metric, 1) if rank else (f"{metric}, %", 100)
    latency: list[tuple[AccuracyRow, Point]] = []
    measured: list[Measurement] = []
    size: list[tuple[AccuracyRow, Point]] = []
    for row in report.accuracy:
        base = Point(
            x=float(row.size_bytes or 0),
            x_range=(float(row.size_bytes or 0), float(row.size_bytes or 0)),
            y=factor * row.value,
            y_range=(factor * row.low, factor * row.high),
            series=numbers[row.subject],
            marker=MARKERS[row.kind][0],
            ringed=row.subject == report.shipped,
            hollow=False,
        )
        if row.size_bytes:
            size.append((row, base))
        one = compute_latency(report.measurements, row.subject)
        if one is not None:
            blocks, hollow = one.spread.block_medians_ns, not one.valid
            ends = (min(blocks), max(blocks))
            measured.append(one)
            latency.append((row, replace(base, x=one.median_ns, x_range=ends, hollow=hollow)))
    ring = " The ring marks what is shipped." if report.shipped else ""
    shaky = " Hollow: INVALID measurement." if any(point.hollow for _, point in latency) else ""
    bars = "Up and left is better. Vertical bars: 95% interval"
    ranges = f"; horizontal: range of the block medians. Times: {subjects_by_runtime(measured)}."
    axes: tuple[tuple[str, list[tuple[AccuracyRow, Point]], charts.Scale, str, str], ...] = (
        ("latency", latency, "ns", "median compute time of one sample (logarithmic)", ranges + ring + shaky),
        ("size", size, "B", "size of the files (logarithmic)", f".{ring}"),
    )
    return [
        Figure(
            f"{metric if metric == MAP else metric.capitalize()} against {name}",
            charts.scatter([point for _, point in points], scale=scale, x_label=x_label, y_label=y_label),
            bars + caption,
            _subject_keys(report, [row for row, _ in points]),
        )
        for name, points, scale, x_label, caption in axes
        if points
    ]


def variants_figure(report: "Report") -> Figure | None:
    """Size against latency of the measured artifacts, where there are several."""
    numbers, found, measured = series(report), [], []
    for artifact in report.artifacts:
        name, size = artifact_name(artifact), float(artifact_bytes(artifact))
        one = compute_latency(report.measurements, name)
        if one is None or not size:
            continue
        measured.append(one)
        blocks = one.spread.block_medians_ns
        point = Point(
            x=one.median_ns,
            x_range=(min(blocks), max(blocks)),
            y=size,
            y_range=(size, size),
            series=numbers[name],
            marker=MARKERS["artifact"][0],
            ringed=name == report.shipped,
            hollow=not one.valid,
        )
        found.append((Key(MARKERS["artifact"][1], numbers[name], marked(name, report)), point))
    if len(found) < 2:
        return None
    svg = charts.scatter(
        [point for _, point in found],
        scale="ns",
        x_label="median compute time of one sample (logarithmic)",
        y_label="size of the files (logarithmic)",
        y_scale="B",
    )
    shaky = " Hollow: INVALID measurement." if any(point.hollow for _, point in found) else ""
    ring = " The ring marks what is shipped." if report.shipped else ""
    caption = (
        "Down and left is better. Horizontal bars: range of the block medians. "
        f"Times: {subjects_by_runtime(measured)}.{ring}{shaky}"
    )
    return Figure("Size against latency", svg, caption, [key for key, _ in found])


def step_figure(report: "Report") -> Figure:
    """What each step changed."""
    return Figure(
        "Change of each step",
        charts.forest(report.paired),
        "Bars: 95% interval of a paired bootstrap. Grey: inside the noise; red: a loss; green: a gain.",
    )


def distributions(report: "Report") -> list[Figure]:
    """Latency distributions of one sample, for each scope that was measured."""
    names = {one.subject: marked(one.subject, report) for one in report.measurements}
    return distributions_of(report.measurements, names, series(report))


def distributions_of(
    measurements: "list[Measurement]", names: dict[str, str], numbers: dict[str, int]
) -> list[Figure]:
    """The same of any measurements; `names` and `numbers` are what a subject is called and its series."""
    found = []
    for scope, title in (
        ("compute", "Compute: the runtime call"),
        ("end-to-end", "End to end: raw input to answer"),
    ):
        measured = [
            one for one in measurements if (one.scope, one.scenario) == (scope, "single-stream") and one.n
        ]
        if not measured:
            continue
        keys = [
            Key(
                LINE,
                numbers[one.subject],
                f"{names[one.subject]}: median {format_ns(one.median_ns)}, n {one.n:,}"
                + ("" if one.valid else " (INVALID)"),
            )
            for one in measured
        ]
        svg = charts.distribution([(one, numbers[one.subject]) for one in measured])
        dashed = "" if all(one.valid for one in measured) else " Dashed: INVALID."
        found.append(
            Figure(title, svg, f"All raw samples, warm-up excluded; time is logarithmic.{dashed}", keys)
        )
    return found


def curve_figures(curve: "Curve") -> list[Figure]:
    """Loss terms and select figures of one stage."""
    found = []
    for title, caption, values in (
        ("loss terms", "Mean of each unweighted term over the epoch.", curve.terms),
        ("on select", "Read after each epoch; the report split is never read while training.", curve.select),
    ):
        if values and curve.epochs:
            keys = [
                Key(LINE, number, name.replace("_", " ").replace("f1", "F1"))
                for number, name in enumerate(values)
            ]
            svg = charts.curves(curve.epochs, values, y_label="loss" if title == "loss terms" else "")
            found.append(Figure(f"{curve.stage}: {title}", svg, caption, keys))
    return found


def _subject_keys(report: "Report", rows: "list[AccuracyRow]") -> list[Key]:
    numbers = series(report)
    return [Key(MARKERS[row.kind][1], numbers[row.subject], marked(row.subject, report)) for row in rows]
