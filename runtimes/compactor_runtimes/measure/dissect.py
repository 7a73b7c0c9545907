"""Take one candidate apart in its worker: times of its stages, memory under a soak, operators.

The order matters: the profiler opens the graph a second time, which memory must not see.
"""

from pathlib import Path
from random import Random
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING

import msgspec

from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError
from compactor_runtimes.measure.anatomy import Anatomy, MemoryPoint, MemoryStage, MemoryTrace, Split, Stage
from compactor_runtimes.measure.measurement import Dissect, Dissection, Job, MemoryUse
from compactor_runtimes.measure.memory import History, read_memory
from compactor_runtimes.measure.queries import WARM_UP_QUERIES
from compactor_runtimes.stats.slope import slope

if TYPE_CHECKING:
    from compactor_runtimes.measure.subject import Feeds, Subject

SOAK_EVERY_S = 0.1
SPLIT_SECONDS = 2.0
PROFILED_RUNS = 20
_STAGES: tuple[MemoryStage, ...] = ("start", "loaded", "steady")


def dissect(subject: "Subject", job: Job, command: Dissect, history: History) -> Dissection:
    """Answer one Dissect."""
    notes: list[str] = []
    split = None
    if subject.raws:
        split = split_times(subject, command.queries)
    else:
        notes.append("stages: raw samples cannot be decoded here")
    memory = soak(subject, job.batches, command.soak_s, history)
    anatomy = Anatomy(subject=job.candidate.name, split=split, memory=memory, notes=notes)
    return Dissection(anatomy=look_inside(subject, anatomy))


def split_times(subject: "Subject", queries: int) -> Split:
    """Time the stages of answering one raw sample, `queries` times or for two seconds."""
    from compactor_runtimes.backends import timed_run

    times: dict[Stage, list[int]] = {"decode": [], "copy": [], "compute": [], "post": []}
    begin = monotonic()
    called = returned = copied = 0

    def run(feeds: "Feeds") -> "Feeds":
        nonlocal called, returned, copied
        called = perf_counter_ns()
        outputs, copied = timed_run(subject.runtime, feeds)
        returned = perf_counter_ns()
        return outputs

    for number in range(-WARM_UP_QUERIES, queries):
        raw = subject.raws[number % len(subject.raws)]
        started = perf_counter_ns()
        for one in subject.answer([raw], run):
            subject.decode.say(one)
        ended = perf_counter_ns()
        if number >= 0:
            times["decode"].append(called - started)
            times["copy"].append(copied)
            times["compute"].append(returned - called - copied)
            times["post"].append(ended - returned)
        if number > 0 and monotonic() - begin > SPLIT_SECONDS:
            break
    return Split(samples_ns=times)


def soak(subject: "Subject", sizes: list[int], seconds: float, history: History) -> MemoryTrace:
    """Answer queries of mixed sizes for a while and watch the memory; see `MemoryTrace`."""
    begin = history[0][0]
    points = [
        _point(stage, moment - begin, 0, use) for stage, (moment, use) in zip(_STAGES, history, strict=True)
    ]
    random, queries = Random(0), 0
    work = subject.end_to_end if subject.raws else subject.compute
    ends, told = monotonic() + seconds, 0.0
    while monotonic() < ends:
        work(random.randrange(subject.count), random.randint(1, random.choice(sizes)) if subject.raws else 1)
        queries += 1
        if monotonic() - told >= SOAK_EVERY_S:
            told = monotonic()
            points.append(_point("soak", told - begin, queries, read_memory()))
    soaked = [point for point in points if point.stage == "soak"]
    late = soaked[len(soaked) // 2 :]
    found = slope(
        [float(one.queries) for one in late], [float(one.pss_bytes or one.rss_bytes) for one in late]
    )
    if found is None:
        return MemoryTrace(points=points)
    return MemoryTrace(points=points, slope=found.value, slope_low=found.low, slope_high=found.high)


def look_inside(subject: "Subject", anatomy: Anatomy) -> Anatomy:
    """Add operators, placement and the graph's work; what a runtime does not tell is noted."""
    from compactor_runtimes.backends import operators_of
    from compactor_runtimes.measure.work import count_work

    candidate, source = subject.candidate, Path(subject.candidate.source)
    if 1 not in subject.decoded:
        subject.compute(0, 1)
    feeds, notes = subject.fed(0, 1), list(anatomy.notes)
    inside = work = None
    try:
        inside = operators_of(
            candidate.runtime,
            source,
            feeds,
            threads=subject.threads,
            runs=PROFILED_RUNS,
            **candidate.options,
        )
    except UnfitEnvironmentError as error:
        notes.append(f"operators: {error}")
    if source.suffix == ".onnx":
        try:
            work = count_work(source, feeds)
        except (MissingDependency, UnfitEnvironmentError) as error:
            notes.append(f"floor: {error}")
    return msgspec.structs.replace(
        anatomy,
        operators=[] if inside is None else inside.operators,
        placement=None if inside is None else inside.placement,
        work=work,
        notes=notes,
    )


def _point(stage: MemoryStage, seconds: float, queries: int, use: MemoryUse) -> MemoryPoint:
    return MemoryPoint(
        seconds=seconds,
        stage=stage,
        queries=queries,
        rss_bytes=use.rss_bytes,
        pss_bytes=use.pss_bytes,
    )
