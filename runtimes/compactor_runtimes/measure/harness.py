"""Measure candidates against each other: one fresh process each, taking turns while the others sleep.

Sessions called in turn inside one process slow each other, because their threads spin after each call;
processes that sleep in a read do not. Alternating blocks (A B C, B C A, ...) spread slow drifts of the
machine over all candidates.
"""

import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from compactor_runtimes.backends import has_threads
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import MissingDependency, UsageError
from compactor_runtimes.files import writing
from compactor_runtimes.measure.child import Child
from compactor_runtimes.measure.measurement import (
    PROFILES,
    BlockResult,
    Budget,
    Candidate,
    FirstAnswer,
    Job,
    Measurement,
    MemoryUse,
    ReadMemory,
    Ready,
    RunBlock,
    Scenario,
    Scope,
    Settings,
)
from compactor_runtimes.measure.validity import machine_reasons, sample_reasons

Progress = Callable[[str, int, int], None]
START_SECONDS = 300.0  # a big teacher on a slow disk; a worker that needs longer is taken for stuck
SETTLE_SECONDS = 0.05  # threads of ONNX Runtime spin for about 25 ms after their last call


class _Part(NamedTuple):
    """One kind of measurement: what is timed, under which load, how much of it in each block."""

    scope: Scope
    scenario: Scenario
    batch: int
    budget: Budget


class _Taken(NamedTuple):
    """Samples of one candidate and part so far."""

    samples_ns: list[int]
    blocks: list[int]
    complaints: list[str]


def measure(
    candidates: Sequence[Candidate],
    raw_samples: Sequence[Path],
    settings: Settings,
    *,
    progress: Progress | None = None,
    python: str = sys.executable,
) -> list[Measurement]:
    """Measure every candidate in every scope and scenario.

    Args:
        candidates: at least one, with distinct names.
        raw_samples: image files, or UTF-8 text files of one text each; the first `max_samples` of the profile
            are used.
        settings: scenarios, profile, threads, offline batch and number of cold starts.
        progress: called with what is measured next, steps done and steps in total.
        python: interpreter of the workers; it must be able to import what each runtime needs.

    Returns:
        For each candidate in order: compute and end-to-end for each scenario, then cold-start if asked for.

    Raises:
        UsageError: no candidates, no samples, a name twice, or a runtime of no name.
        MissingDependency: the extra `bench` is not installed.
        UnfitEnvironmentError: a worker died, hung or answered nonsense; the message ends with its last words.
        CompactorError: what a worker itself said before it ended.
    """
    _check(candidates, raw_samples)
    profile, parts = PROFILES[settings.profile], plan(settings)
    paths = [path.resolve() for path in raw_samples[: profile.max_samples]]
    jobs = [
        Job(
            candidate=msgspec.structs.replace(
                candidate,
                source=str(Path(candidate.source).resolve()),
                assets=str(Path(candidate.assets).resolve()),
            ),
            raw_samples=[str(path) for path in paths],
            threads=candidate.threads or settings.threads,
            batches=sorted({part.batch for part in parts}),
        )
        for candidate in candidates
    ]
    cold_starts = profile.cold_starts if settings.cold_starts is None else settings.cold_starts
    steps = len(jobs) * (1 + profile.blocks * len(parts) + cold_starts)
    tell = _counter(progress, steps)
    common = {
        "sample_set_digest": sample_set_digest(paths),
        "environment": describe(),
        "session": uuid4().hex[:12],
    }
    with writing(Path("temporary files")):
        scratch = tempfile.TemporaryDirectory(prefix="compactor-measure-")
    with scratch as folder:
        warm, machine = _measure_warm(jobs, parts, profile.blocks, Path(folder), python, tell, common)
        cold = _measure_cold(jobs, cold_starts, Path(folder), python, tell, common, machine)
    return [one for index in range(len(jobs)) for one in warm[index] + cold[index]]


def plan(settings: Settings) -> list[_Part]:
    """List what each block measures, in order."""
    profile = PROFILES[settings.profile]
    tables = {"single-stream": profile.single_stream, "offline": profile.offline}
    return [
        _Part(scope, scenario, batch, budget)
        for scenario in settings.scenarios
        for batch in (settings.offline_batches if scenario == "offline" else [1])
        for scope, budget in tables[scenario].items()
    ]


def turns(count: int, block: int) -> list[int]:
    """Order of the candidates in a block: each block starts one further on."""
    return [(block + offset) % count for offset in range(count)]


def sample_set_digest(paths: Sequence[Path]) -> str:
    """Digest the samples' contents in order (not their names)."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _measure_warm(
    jobs: list[Job],
    parts: list[_Part],
    blocks: int,
    folder: Path,
    python: str,
    tell: Callable[[str], None],
    common: dict[str, Any],
) -> tuple[list[list[Measurement]], list[str]]:
    """Measure with all processes alive; also return what is wrong with the machine."""
    taken = [[_Taken([], [], []) for _ in parts] for _ in jobs]
    with ExitStack() as stack:
        children, readies = [], []
        for job in jobs:
            tell(f"{job.candidate.name}: load")
            children.append(stack.enter_context(Child(job, folder, python=python)))
            readies.append(children[-1].receive(Ready, seconds=START_SECONDS))
        # LoadGen keeps every query in memory, so a fast model would seem big if this were read at the end
        memories = [child.ask(ReadMemory(), MemoryUse, seconds=30) for child in children]
        sleep(SETTLE_SECONDS)
        machine = machine_reasons(jobs[0].threads)
        for block in range(blocks):
            for number, part in enumerate(parts):
                for index in turns(len(jobs), block):
                    what = f"{part.scope}, {part.scenario}, block {block + 1} of {blocks}"
                    tell(f"{jobs[index].candidate.name}: {what}")
                    _run_block(children[index], part, block, taken[index][number])
        for child in children:
            child.close(grace_seconds=5)
    return [
        [
            Measurement(
                subject=job.candidate.name,
                subject_digest=job.candidate.digest,
                precision=job.candidate.precision,
                scope=part.scope,
                scenario=part.scenario,
                batch=part.batch,
                threads=job.threads,
                runtime=job.candidate.runtime,
                provider=ready.provider,
                samples_ns=one.samples_ns,
                blocks=one.blocks,
                load_s=ready.load_s,
                rss_bytes=memory.rss_peak_bytes,
                pss_bytes=memory.pss_bytes,
                **_verdict(
                    machine + sample_reasons(part.scope, part.scenario, one.samples_ns, one.blocks), one
                ),
                **common,
            )
            for part, one in zip(parts, samples, strict=True)
        ]
        for job, ready, memory, samples in zip(jobs, readies, memories, taken, strict=True)
    ], machine


def _run_block(child: Child, part: _Part, block: int, taken: _Taken) -> None:
    sleep(SETTLE_SECONDS)
    command = RunBlock(
        id=block, scope=part.scope, scenario=part.scenario, batch=part.batch, budget=part.budget
    )
    # generous: warm-up, a slow offline query and a busy machine all come out of it
    result = child.ask(command, BlockResult, seconds=120 + 20 * part.budget.max_ms / 1000)
    taken.samples_ns.extend(result.samples_ns)
    taken.blocks.extend([block] * len(result.samples_ns))
    taken.complaints.extend(f"{text} (block {block + 1})" for text in result.complaints)


def _measure_cold(
    jobs: list[Job],
    rounds: int,
    folder: Path,
    python: str,
    tell: Callable[[str], None],
    common: dict[str, Any],
    machine: list[str],
) -> list[list[Measurement]]:
    """Time process start to first answer, one process a sample, candidates in turn."""
    if rounds == 0:
        return [[] for _ in jobs]
    times: list[list[int]] = [[] for _ in jobs]
    answers: list[list[FirstAnswer]] = [[] for _ in jobs]
    memories: list[list[MemoryUse]] = [[] for _ in jobs]
    for block in range(rounds):
        for index in turns(len(jobs), block):
            tell(f"{jobs[index].candidate.name}: cold start {block + 1} of {rounds}")
            with Child(jobs[index], folder, python=python, cold_start=True) as child:
                answers[index].append(child.receive(FirstAnswer, seconds=START_SECONDS))
                times[index].append(perf_counter_ns() - child.started_ns)
                memories[index].append(child.receive(MemoryUse, seconds=30))
    blocks = list(range(rounds))
    return [
        [
            Measurement(
                subject=job.candidate.name,
                subject_digest=job.candidate.digest,
                precision=job.candidate.precision,
                scope="cold-start",
                scenario="once",
                batch=1,
                threads=job.threads,
                runtime=job.candidate.runtime,
                provider=first[-1].provider,
                samples_ns=samples_ns,
                blocks=blocks,
                load_s=median(one.load_s for one in first),
                rss_bytes=max(one.rss_peak_bytes for one in memory),
                pss_bytes=memory[-1].pss_bytes,
                **_verdict(machine + sample_reasons("cold-start", "once", samples_ns, blocks), None),
                **common,
            )
        ]
        for job, samples_ns, first, memory in zip(jobs, times, answers, memories, strict=True)
    ]


def _verdict(reasons: list[str], taken: _Taken | None) -> dict[str, Any]:
    every = reasons + ([] if taken is None else taken.complaints)
    return {"valid": not every, "reasons": every}


def _counter(progress: Progress | None, total: int) -> Callable[[str], None]:
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        if progress is not None:
            progress(what, done, total)
        done += 1

    return tell


def _check(candidates: Sequence[Candidate], raw_samples: Sequence[Path]) -> None:
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"measure: got candidates {names}, expected at least one and every name once")
    if not raw_samples:
        raise UsageError(
            "measure: got no raw samples, expected at least one image or text file to feed the candidates"
        )
    for candidate in candidates:
        has_threads(candidate.runtime)  # says which names there are
    for module in ("mlperf_loadgen", "psutil"):
        if find_spec(module) is None:
            raise MissingDependency("mlcommons-loadgen" if module == "mlperf_loadgen" else module, "bench")
