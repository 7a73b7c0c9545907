"""The figures of a profile: what is on the front, how times scatter, what a sweep found."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.draw import charts
from compactor_runtimes.report.draw.anatomy_charts import Line, lines
from compactor_runtimes.report.draw.charts import Point
from compactor_runtimes.report.draw.figures import LINE, Figure, Key, distributions_of
from compactor_runtimes.report.draw.profile_tables import measured_of, pick

if TYPE_CHECKING:
    from compactor_runtimes.measure.machine_profile import MachineProfile

# one shape a runtime
SHAPES = (("D", "◆"), ("o", "●"), ("s", "■"), ("^", "▲"), ("v", "▼"))


def series_of(profile: "MachineProfile") -> dict[str, int]:
    """Number every subject, so that it has one colour in all charts."""
    return {row.name: number for number, row in enumerate(profile.subjects)}


def profile_figures(profile: "MachineProfile") -> list[Figure]:
    """Latency against size and throughput, distributions, and lines over what was swept."""
    names = {row.name: row.name for row in profile.subjects}
    found = [
        _front(profile, "size"),
        _front(profile, "throughput"),
        *distributions_of(profile.measurements, names, series_of(profile)),
        _batches(profile),
    ]
    return [one for one in found if one is not None]


def _front(profile: "MachineProfile", what: str) -> Figure | None:
    numbers, points, keys = series_of(profile), [], []
    runtimes = list(dict.fromkeys(row.runtime for row in profile.subjects))
    shapes = {name: SHAPES[number % len(SHAPES)] for number, name in enumerate(runtimes)}
    for row in profile.subjects:
        found = measured_of(profile, row.name)
        single = pick(found, "compute", "single-stream")
        if single is None:
            continue
        offline = [one for one in found if (one.scope, one.scenario) == ("compute", "offline")]
        rate = max((one.images_per_s for one in offline), default=0.0)
        y = float(row.size_bytes) if what == "size" else rate
        if not y:
            continue
        blocks = single.spread.block_medians_ns
        shape, sign = shapes[row.runtime]
        points.append(
            Point(
                x=single.median_ns,
                x_range=(min(blocks), max(blocks)),
                y=y,
                y_range=(y, y),
                series=numbers[row.name],
                marker=shape,
                ringed=row.name == profile.recommendation.subject,
                hollow=not single.valid,
            )
        )
        front = ", on the front" if row.name in profile.recommendation.front else ""
        keys.append(Key(sign, numbers[row.name], f"{row.name}{front}"))
    if len(points) < 2:
        return None
    svg = charts.scatter(
        points,
        scale="ns",
        x_label="median compute time of one sample (logarithmic)",
        y_label="size of the files (logarithmic)"
        if what == "size"
        else "samples a second in batches (logarithmic)",
        y_scale="B" if what == "size" else "/s",
    )
    better = "Down and left" if what == "size" else "Up and left"
    hollow = " Hollow: INVALID." if any(point.hollow for point in points) else ""
    caption = (
        f"{better} is better; one shape a runtime, bars: range of the block medians. The ring is what is "
        f"recommended. On the front: nothing beats it in time, size and memory at once.{hollow}"
    )
    return Figure(f"Latency against {what}", svg, caption, keys)


def _batches(profile: "MachineProfile") -> Figure | None:
    """Samples a second over the batch, where several were measured."""
    batches = sorted({one.batch for one in profile.measurements if one.scenario == "offline"})
    if len(batches) < 2:
        return None
    numbers, found, keys = series_of(profile), [], []
    for row in profile.subjects:
        own = sorted(
            (
                one
                for one in measured_of(profile, row.name)
                if (one.scope, one.scenario) == ("compute", "offline")
            ),
            key=lambda one: one.batch,
        )
        if own:
            dashed = any(not one.valid for one in own)
            x, y = [float(one.batch) for one in own], [one.images_per_s for one in own]
            found.append(Line(x, y, numbers[row.name], dashed))
            keys.append(Key(LINE, numbers[row.name], row.name + (" (INVALID)" if dashed else "")))
    svg = lines(
        found,
        x_label="samples in a batch",
        y_label="samples a second (logarithmic)",
        y_scale="/s",
        x_ticks=[float(batch) for batch in batches],
    )
    return Figure("Throughput over the batch", svg, "Compute alone. Dashed: INVALID.", keys)
