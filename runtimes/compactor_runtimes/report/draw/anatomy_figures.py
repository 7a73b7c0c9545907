"""Where time and memory go, in figures and words: of a run's subjects and of a profile's alike."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from compactor_runtimes.report.draw import anatomy_charts as charts
from compactor_runtimes.report.draw.anatomy_charts import Line, RoofPoint
from compactor_runtimes.report.draw.figures import LINE, MARKERS, Figure, Key
from compactor_runtimes.report.draw.text_tables import INVALID, Cell, Table
from compactor_runtimes.report.format import NO_VALUE, times
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.anatomy import Anatomy, MemoryTrace, Stage
    from compactor_runtimes.measure.measurement import Measurement

STAGES: "tuple[Stage, ...]" = ("decode", "copy", "compute", "post")
MOST_OPERATORS = 10
GROWS = 1024.0  # bytes a query below which nobody need look for a leak
SQUARE = "■"


def anatomy_figures(
    anatomies: "Sequence[Anatomy]", measurements: "Sequence[Measurement]", series: Mapping[str, int]
) -> list[Figure]:
    """Stages, roofline, memory over time and the longest operators, as far as they were looked at."""
    found = [_stages(anatomies), _roofline(anatomies, measurements, series), _memory(anatomies, series)]
    found += [_operators(one, series) for one in anatomies]
    return [one for one in found if one is not None]


def anatomy_table(anatomies: "Sequence[Anatomy]", measurements: "Sequence[Measurement]") -> Table:
    """One row a subject: what ran, the stages' medians, the floor and how far from it, memory."""
    headings = ["subject", "ran in", "on what was asked for", *STAGES, "floor", "above it", "memory"]
    table = Table(headings, [], frozenset({0, 1, 9}))
    latencies, invalid = compute_medians(measurements), invalid_medians(measurements)
    for one in anatomies:
        stages = stage_medians(one)
        floor = None if one.roofline is None else one.roofline.floor_ns
        time = latencies.get(one.subject)
        ratio = None if floor is None or time is None else time / floor
        table.rows.append(
            [
                Cell(one.subject),
                Cell(precisions(one) or NO_VALUE),
                Cell(NO_VALUE if one.placement is None else f"{one.placement.share:.0%}"),
                *(Cell(format_ns(stages[stage]) if stage in stages else NO_VALUE) for stage in STAGES),
                Cell(
                    NO_VALUE if floor is None else format_ns(floor),
                    "" if one.roofline is None else one.roofline.bound,
                ),
                _above(ratio, valid=one.subject not in invalid),
                Cell(NO_VALUE if one.memory is None else memory_words(one.memory)),
            ]
        )
        table.notes.extend(f"{one.subject}: {note}" for note in one.notes)
    table.notes.insert(
        0,
        "ran in: the number types in which operators computed, by their share. Stages are medians of one "
        "sample, end to end. The floor is the work of the graph at this machine's measured float32 peak, or "
        "its bytes at the measured copy, whichever takes longer; above it: median compute over the floor. "
        f"* marks {INVALID}.",
    )
    return table


def compute_medians(measurements: "Sequence[Measurement]") -> dict[str, float]:
    """Median compute time of one sample in ns by subject, valid or not."""
    return {
        one.subject: one.median_ns
        for one in measurements
        if (one.scope, one.scenario) == ("compute", "single-stream") and one.n
    }


def invalid_medians(measurements: "Sequence[Measurement]") -> set[str]:
    """Subjects whose compute time of one sample is INVALID."""
    return {
        one.subject
        for one in measurements
        if (one.scope, one.scenario) == ("compute", "single-stream") and not one.valid
    }


def stage_medians(one: "Anatomy") -> "dict[Stage, float]":
    """Median of each stage in ns; empty where they were not timed."""
    if one.split is None:
        return {}
    return {stage: float(median(values)) for stage, values in one.split.samples_ns.items() if values}


def precisions(one: "Anatomy") -> str:
    """`i8 83%, f32 17%`; a single number type by its name."""
    if one.placement is None:
        return ""
    shares = sorted(one.placement.precisions.items(), key=lambda item: -item[1])
    if len(shares) == 1:
        return shares[0][0]
    return ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)


def memory_words(trace: "MemoryTrace") -> str:
    """What the process holds once loaded and in use, and whether it grows under the soak."""
    held = {point.stage: point.pss_bytes or point.rss_bytes for point in trace.points}
    parts = [f"loaded {scaled(held['loaded'], 'B')}"] if "loaded" in held else []
    parts += [f"in use {scaled(held['steady'], 'B')}"] if "steady" in held else []
    queries = max((point.queries for point in trace.points), default=0)
    if trace.slope is None or trace.slope_low is None or trace.slope_high is None:
        return ", ".join([*parts, "growth not known"])
    interval = f"[{_signed(trace.slope_low)}, {_signed(trace.slope_high)}] a query, {queries:,} queries"
    return ", ".join([*parts, f"{_growth(trace.slope, trace.slope_low, trace.slope_high)} {interval}"])


def _growth(slope: float, low: float, high: float) -> str:
    """In words: growth that matters is above GROWS, and what may be above it is not ruled out."""
    if low > 0:
        return "GROWS" if slope > GROWS else "grows little"
    return "growth not ruled out" if high > GROWS else "does not grow"


def _above(ratio: float | None, *, valid: bool) -> Cell:
    if ratio is None:
        return Cell(NO_VALUE)
    return Cell(f"{times(ratio)}×{'' if valid else ' *'}", style="" if valid else "warn", order=ratio)


def _stages(anatomies: "Sequence[Anatomy]") -> Figure | None:
    found = [(one.subject, stage_medians(one)) for one in anatomies if one.split is not None]
    if not found:
        return None
    parts = [[stages.get(stage, 0.0) for stage in STAGES] for _, stages in found]
    keys = [Key(SQUARE, number, stage) for number, stage in enumerate(STAGES)]
    caption = (
        "From raw sample to answer: decode or tokenise, copy into and out of the runtime's memory, compute, "
        "and turning outputs into an answer. Medians of the same queries."
    )
    return Figure(
        "Where an answer's time goes", charts.stacked([name for name, _ in found], parts), caption, keys
    )


def _roofline(
    anatomies: "Sequence[Anatomy]", measurements: "Sequence[Measurement]", series: Mapping[str, int]
) -> Figure | None:
    latencies, invalid = compute_medians(measurements), invalid_medians(measurements)
    points, keys = [], []
    peaks = None
    for one in anatomies:
        time = latencies.get(one.subject)
        if one.roofline is None or not time or not one.roofline.work.flops:
            continue
        peaks, work = one.roofline.peaks, one.roofline.work
        points.append(
            RoofPoint(
                work.flops / max(work.bytes, 1),
                work.flops * 1e9 / time,
                series[one.subject],
                hollow=one.subject in invalid,
            )
        )
        mark = " (INVALID)" if one.subject in invalid else ""
        above = times(time / one.roofline.floor_ns)
        keys.append(
            Key(MARKERS["artifact"][1], series[one.subject], f"{one.subject}: {above} times its floor{mark}")
        )
    if peaks is None:
        return None
    svg = charts.roofline(points, flops_per_s=peaks.flops_per_s, bytes_per_s=peaks.bytes_per_s)
    caption = (
        f"The line is what this machine reached with {peaks.threads} threads: "
        f"{scaled(peaks.flops_per_s, 'FLOP/s')} in a float32 product, {scaled(peaks.bytes_per_s, 'B/s')} in "
        "a copy. One sample at a time; int8 and bf16 have higher peaks of their own, which were not measured."
        + (" Hollow: INVALID." if any(point.hollow for point in points) else "")
    )
    return Figure("How far from the floor", svg, caption, keys)


def _memory(anatomies: "Sequence[Anatomy]", series: Mapping[str, int]) -> Figure | None:
    found, keys = [], []
    for one in anatomies:
        if one.memory is None or not one.memory.points:
            continue
        x = _without_idling(one.memory)
        y = [float(point.pss_bytes or point.rss_bytes) for point in one.memory.points]
        found.append(Line(x, y, series[one.subject]))
        keys.append(Key(LINE, series[one.subject], f"{one.subject}: {memory_words(one.memory)}"))
    if not found:
        return None
    svg = charts.lines(found, x_label="seconds of the process", y_label="memory", y_scale="B")
    caption = (
        "PSS of the process (RSS where the kernel does not tell): at its start, with the runtime open, once "
        "every kind of query was answered, and under queries of mixed sizes. Sleep while others "
        "are measured is cut out."
    )
    return Figure("Memory over time", svg, caption, keys)


def _without_idling(trace: "MemoryTrace") -> list[float]:
    """Seconds of each point, those of the soak moved to where the process was ready."""
    ready = max((point.seconds for point in trace.points if point.stage != "soak"), default=0.0)
    begin = min((point.seconds for point in trace.points if point.stage == "soak"), default=0.0)
    return [
        point.seconds if point.stage != "soak" else point.seconds - begin + ready for point in trace.points
    ]


def _operators(one: "Anatomy", series: Mapping[str, int]) -> Figure | None:
    if not one.operators:
        return None
    ordered = sorted(one.operators, key=lambda each: -each.ns)
    shown, total = ordered[:MOST_OPERATORS], sum(each.ns for each in ordered)
    names = [f"{each.kind} {each.precision}".strip() + f" · {each.name}" for each in shown]
    rest = total - sum(each.ns for each in shown)
    others = f", of which those not shown take {format_ns(rest)}" if len(ordered) > len(shown) else ""
    caption = (
        f"The runtime's own profiler, {len(ordered)} operator{'' if len(ordered) == 1 else 's'}, "
        f"{format_ns(total)} in all{others}. Timing an operator takes time itself: the sum is above a run's."
    )
    svg = charts.bars(names, [each.ns for each in shown], series[one.subject])
    return Figure(f"Operators of {one.subject}", svg, caption)


def _signed(value: float) -> str:
    sign = "-" if value < 0 else "+" if value > 0 else ""
    return f"{sign}{scaled(abs(value), 'B')}"
