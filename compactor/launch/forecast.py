"""How wall time would fall with workers: seconds measured here, a simulation of who takes which item when.

1. Labels are items that any worker takes, the next one that is missing; an item takes what the finished ones
   did and varies as they did. While none is finished it takes what a few batches here took, and varies by
   SPREAD. With probability `failure` a worker dies in the middle
   of an item, which begins anew after RESTART_S.
2. A stage of training is one item; stages wait for those that they build on, here in the recipe's order.
3. Every number of workers is simulated TRIALS times; told are the median and where 90% of the trials lie.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, pstdev
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from compactor.cache.claims import JOURNALS, progress_of
from compactor.cache.folder import DONE
from compactor.label_store.header import Header
from compactor.label_store.probe import divided
from compactor.label_store.unfinished import jobs_of
from compactor.label_store.write import forecast_bytes
from compactor.launch.hours import hours
from compactor.launch.order import device_of
from compactor.recommend.cost import Pace
from compactor.run.planned import Plan, PlannedStage
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.files import written_whole
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from rich.table import Table

SPREAD = 0.1  # standard deviation of an item's log time where nothing was measured
RESTART_S = 10.0  # a worker's start: Python, the data, the teacher
TRIALS = 200
PLOT = "forecast.png"


class Piece(Struct, frozen=True, kw_only=True):
    """What is missing of a stage's labels, or its training: items, seconds of each, bytes read and written.

    `spread` is the standard deviation of the items' log times. Both are of `measured` finished items, or of a
    few batches here and assumed where that is 0.
    """

    what: str
    items: int
    item_s: float
    read_bytes: int
    written_bytes: int
    spread: float = SPREAD
    measured: int = 0


class Wall(Struct, frozen=True, kw_only=True):
    """Seconds that a number of workers would take: median and 90% of the trials, and how busy they are."""

    workers: int
    seconds: float
    low: float
    high: float
    busy: float


class Forecast(Struct, frozen=True, kw_only=True):
    """Pieces in their order, and the wall time for each number of workers; `machine` was measured.

    `left_out` are stages whose training is missing but not counted, as nothing was timed on such a device.
    """

    pieces: list[Piece]
    walls: list[Wall]
    failure: float
    machine: str
    left_out: list[str] = []


@dataclass(frozen=True)
class Wish:
    """Up to `workers`, each of which dies with probability `failure` while it makes an item.

    `gpu` is a part of a device's name: only what was finished on such a device tells how long items take.
    """

    workers: int
    failure: float = 0.0
    gpu: str = ""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is out of range.
        """
        if self.workers < 1:
            raise UsageError(f"--workers: got {self.workers}, expected at least 1")
        if not 0 <= self.failure < 1:
            raise UsageError(f"--failures: got {self.failure}, expected a probability from 0 to below 1")


def forecast(plan: Plan, wish: Wish) -> Forecast:
    """Measure a few batches of each model and simulate; of a kind of device, take what was finished there.

    Raises:
        UsageError: a teacher that cannot be timed with random weights (`bundle:`), or nothing was finished on
            such a device.
    """
    from compactor_runtimes.environment import describe

    pace = Pace(plan.loaded)
    pieces = [piece for stage in plan.stages for piece in _pieces(stage, pace, wish)]
    if wish.gpu and not pieces:
        raise UsageError(f"--gpu {wish.gpu}: no labels are missing, and of trainings nothing is known there")
    counts = sorted({2**power for power in range(int(math.log2(wish.workers)) + 1)} | {wish.workers})
    walls = [simulated(pieces, workers, failure=wish.failure) for workers in counts]
    found = describe()  # of this machine
    machine = wish.gpu or f"{found['cpu'] or 'an unknown processor'}, {found['usable_cores']} cores"
    untrained = [stage.id for stage in plan.stages if not (stage.folder / DONE).is_file()]
    return Forecast(
        pieces=pieces,
        walls=walls,
        failure=wish.failure,
        machine=machine,
        left_out=untrained if wish.gpu else [],
    )


def simulated(pieces: Sequence[Piece], workers: int, *, failure: float = 0.0, seed: int = 0) -> Wall:
    """Simulate the pieces one after the other; the same arguments give the same numbers."""
    rng = np.random.Generator(np.random.Philox(seed))
    totals, worked = [], []
    for _ in range(TRIALS):
        wall = work = 0.0
        for piece in pieces:
            # the mean of exp(N(m, s)) is exp(m + s^2 / 2): items keep the mean that was measured
            seconds = piece.item_s * np.exp(rng.normal(-(piece.spread**2) / 2, piece.spread, piece.items))
            wall += _makespan(seconds, min(workers, piece.items), failure, rng)
            work += float(seconds.sum())
        totals.append(wall)
        worked.append(work)
    low, high = np.quantile(totals, [0.05, 0.95])
    wall = median(totals)
    busy = median(worked) / (workers * wall) if wall else 1.0
    return Wall(workers=workers, seconds=wall, low=float(low), high=float(high), busy=busy)


def _makespan(seconds: "np.ndarray", workers: int, failure: float, rng: np.random.Generator) -> float:
    """When the last item is done, where each worker takes the next item as soon as it is free (rule 1)."""
    free = [0.0] * workers
    for item_s in seconds.tolist():
        started = heapq.heappop(free)
        while failure and rng.random() < failure:
            started += rng.random() * item_s + RESTART_S
        heapq.heappush(free, started + item_s)
    return max(free)


def _pieces(stage: PlannedStage, pace: Pace, wish: Wish) -> list[Piece]:
    """What of a stage is missing; of a kind of device only its labels, for no training was timed there."""
    if (stage.folder / DONE).is_file():
        return []
    split, job = stage.data.train, stage.labels
    sample_bytes = getattr(split.inputs, "nbytes", 0) // max(len(split.inputs), 1)
    if wish.gpu:
        if job is None or job.is_made:
            return []
        return _labels(stage, _begun_on(wish.gpu, stage), wish, sample_bytes)
    labels_s, pieces = _known(pace.labels_s(stage), stage), list[Piece]()
    if job is not None and not job.is_made:
        begun = job.begun or divided(job.wanted, labels_s / job.records, workers=wish.workers, threads=1)
        pieces = _labels(stage, begun, wish, sample_bytes, labels_s)
    epochs = stage.spec.epochs or (stage.spec.steps or 0) * stage.spec.batch_size / max(len(split), 1)
    training = Piece(
        what=f"train {stage.id}",
        items=1,
        item_s=_known(pace.training_s(stage), stage) - labels_s,
        read_bytes=round(epochs * len(split) * sample_bytes),
        written_bytes=0,
    )
    return [*pieces, training]


def _begun_on(gpu: str, stage: PlannedStage) -> Header:
    assert stage.labels is not None
    if stage.labels.begun is None:
        raise UsageError(_none_on(gpu, stage, "no shard is finished"))
    return stage.labels.begun


def _none_on(gpu: str, stage: PlannedStage, found: str) -> str:
    return (
        f"--gpu {gpu}: {found} of the labels of {stage.id}, so that nothing is known of such a device; label "
        "a few shards there (`compactor label RECIPE --on ...`, then Ctrl-C), and plan again"
    )


def _labels(
    stage: PlannedStage, begun: Header, wish: Wish, sample_bytes: int, labels_s: float = 0.0
) -> list[Piece]:
    """The shards that are missing; all of them would take `labels_s` at the pace of a few batches."""
    assert stage.labels is not None
    folder, shards = stage.labels.folder, jobs_of(begun)
    found = progress_of(folder, {one.number: folder / one.file for one in shards})
    devices = {number: device_of(folder / JOURNALS, who) for number, who in found.made_by.items()}
    of_kind = [number for number, device in devices.items() if wish.gpu.casefold() in device.casefold()]
    if wish.gpu and not of_kind:
        others = ", ".join(sorted({one for one in devices.values() if one})) or "nothing that said so"
        raise UsageError(_none_on(wish.gpu, stage, f"no shard is finished on one (but on {others})"))
    times = [found.seconds[number] for number in of_kind if found.seconds[number] > 0]
    missing = len(shards) - len(found.done)
    piece = Piece(
        what=f"labels of {stage.id}",
        items=missing,
        item_s=sum(times) / len(times) if times else labels_s / len(shards),
        read_bytes=sum(part.rows for part in begun.parts) * sample_bytes * missing // len(shards),
        written_bytes=forecast_bytes(begun) * missing // len(shards),
        spread=pstdev(map(math.log, times)) if len(times) > 1 else SPREAD,
        measured=len(times),
    )
    return [piece] if missing else []


def _known(seconds: float | None, stage: PlannedStage) -> float:
    if seconds is None:
        raise UsageError(
            f"stage {stage.id}: a bundle: teacher is not timed, so nothing can be forecast; plan without "
            "--workers"
        )
    return seconds


def render_forecast(found: Forecast) -> "list[Table | str]":
    """Tables and sentences for the terminal."""
    from rich.table import Table

    pieces = Table(title=f"work, as measured on {found.machine}", title_justify="left")
    for heading in ("what", "items", "an item", "in all", "reads", "writes", "spread of items"):
        pieces.add_column(heading, justify="left" if heading == "what" else "right")
    for one in found.pieces:
        spread = f"{one.spread:.0%} of {one.measured} items" if one.measured else f"{one.spread:.0%} assumed"
        pieces.add_row(
            one.what,
            f"{one.items:,}",
            hours(one.item_s),
            hours(one.items * one.item_s),
            scaled(one.read_bytes, "B"),
            scaled(one.written_bytes, "B"),
            spread,
        )
    walls = Table(title=f"wall time, {TRIALS} simulations each", title_justify="left")
    for heading in ("workers", "wall time", "90% of trials", "times as fast", "workers busy"):
        walls.add_column(heading, justify="right")
    for wall in found.walls:
        walls.add_row(
            f"{wall.workers:,}",
            hours(wall.seconds),
            f"{hours(wall.low)} to {hours(wall.high)}",
            f"{found.walls[0].seconds / wall.seconds:.2f}" if wall.seconds else "-",
            f"{wall.busy:.0%}",
        )
    alone = sum(one.item_s for one in found.pieces if one.items == 1)
    told = [f"no number of workers goes below {hours(alone)}: one worker makes an item"] if alone else []
    told += (
        [f"without the training of {', '.join(found.left_out)}, never timed there"] if found.left_out else []
    )
    told += [f"each item fails with probability {found.failure:g}"] if found.failure else []
    return [pieces, walls, "; ".join([*told, f"a worker is a machine with {found.machine}"])]


def plot_forecast(found: Forecast, path: Path) -> None:
    """Draw wall time over workers, with the line that twice the workers in half the time would give.

    Raises:
        MissingDependency: the extra `report` is not installed.
    """
    with needs_extra("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    workers = [wall.workers for wall in found.walls]
    scale = 3600.0 if found.walls[0].seconds > 3600 else 60.0
    times = [wall.seconds / scale for wall in found.walls]
    below = [(one.seconds - one.low) / scale for one in found.walls]
    above = [(one.high - one.seconds) / scale for one in found.walls]
    axes.errorbar(
        workers, times, yerr=[below, above], marker="o", capsize=3, label="simulated; 90% of trials"
    )
    axes.plot(
        workers, [times[0] / count for count in workers], "--", color="#94a3b8", label="if it all divided"
    )
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="hours" if scale == 3600 else "minutes")
    axes.set_xticks(workers, [str(count) for count in workers])
    axes.minorticks_off()
    axes.set_title("wall time over workers", loc="left", fontweight="bold")
    axes.legend(frameon=False)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png")
