"""Measure candidates against each other: one fresh process each, taking turns while the others sleep.

Sessions called in turn inside one process slow each other, because their threads spin after each call;
processes that sleep in a read do not. Alternating blocks (A B C, B C A, ...) spread slow drifts of the
machine over all candidates.
"""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import NamedTuple
from uuid import uuid4

import msgspec

from compactor_runtimes.backends import has_threads
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import writing
from compactor_runtimes.measure.anatomy import Anatomy
from compactor_runtimes.measure.child import START_SECONDS, Child
from compactor_runtimes.measure.cold_starts import measure_cold
from compactor_runtimes.measure.measurement import (
    PROFILES,
    Candidate,
    Dissect,
    Dissection,
    Job,
    Measurement,
    MemoryUse,
    ReadMemory,
    Ready,
    Settings,
)
from compactor_runtimes.measure.progress import Progress, Steps
from compactor_runtimes.measure.quiet import wait_until_quiet
from compactor_runtimes.measure.rounds import SETTLE_SECONDS, Part, Rounds, Served, Worker, parts_of
from compactor_runtimes.measure.server import find_rates

SPLIT_QUERIES = 200


class Measured(NamedTuple):
    """What was measured, and where time and memory go (empty unless asked for).

    `stopped` says after which block it was stopped by Ctrl-C, empty where it came to its end.
    """

    measurements: list[Measurement]
    anatomies: list[Anatomy]
    stopped: str = ""


def measure(
    candidates: Sequence[Candidate],
    raw_samples: Sequence[Path],
    settings: Settings,
    *,
    progress: Progress | None = None,
    python: str = sys.executable,
    wait_quiet_s: float | None = None,
    again: int = 0,
    keep_stopped: bool = False,
) -> Measured:
    """Measure every candidate in every scope and scenario.

    Args:
        candidates: at least one, with distinct names.
        raw_samples: image files, or UTF-8 text files of one text each; the first `max_samples` of the profile
            are used.
        settings: scenarios, profile, threads, offline batches and number of cold starts.
        progress: called with what is measured next, steps done and steps in total.
        python: interpreter of the workers; it must be able to import what each runtime needs.
        wait_quiet_s: wait so long for other processes to be quiet before anything is timed; None waits not.
        again: how often what is INVALID is measured again, by itself.
        keep_stopped: Ctrl-C after the first block gives what was measured by then, instead of going on up.

    Returns:
        For each candidate in order: compute and end-to-end for each scenario, then cold-start if asked for.

    Raises:
        UsageError: no candidates, no samples, a name twice, a runtime of no name, or no bound for a server.
        UnfitEnvironmentError: a worker died, hung or answered nonsense; the message ends with its last words.
        CompactorError: what a worker itself said before it ended.
    """
    _check(candidates, raw_samples, settings)
    profile = PROFILES[settings.profile]
    paths = [path.resolve() for path in raw_samples[: profile.max_samples]]
    jobs = [_job(candidate, paths, settings) for candidate in candidates]
    plans = [parts_of(job.candidate, settings) for job in jobs]
    cold_starts = profile.cold_starts if settings.cold_starts is None else settings.cold_starts
    steps = Steps(
        progress,
        sum(1 + profile.blocks * len(parts) + settings.dissect for parts in plans)
        + cold_starts * sum(job.candidate.fed is None for job in jobs),
    )
    common = {
        "sample_set_digest": sample_set_digest(paths),
        "environment": describe(),
        "session": uuid4().hex[:12],
    }
    with writing(Path("temporary files")):
        scratch = tempfile.TemporaryDirectory(prefix="compactor-measure-")
    with scratch as name:
        folder = Path(name)
        with ExitStack() as stack:
            workers = [
                _start(job, parts, folder, python, stack, steps)
                for job, parts in zip(jobs, plans, strict=True)
            ]
            sleep(SETTLE_SECONDS)
            if wait_quiet_s is not None:
                wait_until_quiet([one.child.pid for one in workers], wait_quiet_s, steps)
            rounds = Rounds(workers, profile.blocks, steps)
            rates: list[list[Served]] = [[] for _ in workers]
            cold: list[list[Measurement]] = [[] for _ in workers]
            anatomies: list[Anatomy] = []
            stopped = ""
            try:
                rounds.run()
                for number in range(again):
                    rounds.run_again(f"again-{number + 1}", wait_quiet_s)
                if settings.bound is not None and "server" in settings.scenarios:
                    rates = find_rates(rounds, settings.bound, profile.trial_s)
                anatomies = (
                    [_dissect(one, profile.soak_s, steps) for one in workers] if settings.dissect else []
                )
                for one in workers:
                    one.child.close(grace_seconds=5)
                cold = measure_cold(jobs, cold_starts, folder, python, steps, common)
            except KeyboardInterrupt:
                if not keep_stopped or rounds.done == 0:
                    raise
                stopped = f"stopped after block {rounds.done} of {profile.blocks}, which is kept"
        warm = rounds.measurements(common, rates)
    return Measured(
        [one for mine in zip(warm, cold, strict=True) for part in mine for one in part], anatomies, stopped
    )


def sample_set_digest(paths: Sequence[Path]) -> str:
    """Digest the samples' contents in order (not their names)."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _job(candidate: Candidate, paths: Sequence[Path], settings: Settings) -> Job:
    resolved = msgspec.structs.replace(
        candidate,
        source=str(Path(candidate.source).resolve()),
        assets=str(Path(candidate.assets).resolve()),
    )
    batches = sorted({part.batch for part in parts_of(candidate, settings)} | {1})
    return Job(
        candidate=resolved,
        raw_samples=[str(path) for path in paths],
        threads=candidate.threads or settings.threads,
        batches=batches,
    )


def _start(job: Job, parts: list[Part], folder: Path, python: str, stack: ExitStack, steps: Steps) -> Worker:
    """Start a worker and read its memory before a load generator adds all its queries to it."""
    steps.tell(f"{job.candidate.name}: load")
    child = stack.enter_context(Child(job, folder, python=python))
    ready = child.receive(Ready, seconds=START_SECONDS)
    return Worker(job, parts, child, ready, child.ask(ReadMemory(), MemoryUse, seconds=30))


def _dissect(worker: Worker, soak_s: float, steps: Steps) -> Anatomy:
    steps.tell(f"{worker.job.candidate.name}: where time and memory go")
    sleep(SETTLE_SECONDS)
    command = Dissect(queries=SPLIT_QUERIES, soak_s=soak_s)
    return worker.child.ask(command, Dissection, seconds=START_SECONDS + soak_s).anatomy


def _check(candidates: Sequence[Candidate], raw_samples: Sequence[Path], settings: Settings) -> None:
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"measure: got candidates {names}, expected at least one and every name once")
    if not raw_samples and any(candidate.fed is None for candidate in candidates):
        raise UsageError(
            "measure: got no raw samples, expected at least one image or text file to feed the candidates"
        )
    if "server" in settings.scenarios and settings.bound is None:
        raise UsageError(
            "measure: the server scenario finds the highest rate that holds a latency bound, and none was "
            "given; say one, such as --bound p99=50ms"
        )
    for candidate in candidates:
        has_threads(candidate.runtime)  # says which names there are
