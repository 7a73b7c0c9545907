"""Time process start to first answer, one process a sample, candidates in turn."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from compactor_runtimes.measure.child import START_SECONDS, Child
from compactor_runtimes.measure.conditions import Conditions, between, pooled, read_counters
from compactor_runtimes.measure.measurement import FirstAnswer, Job, Measurement, MemoryUse
from compactor_runtimes.measure.progress import Steps
from compactor_runtimes.measure.rounds import turns
from compactor_runtimes.measure.validity import machine_reasons, sample_reasons, thread_reasons


def measure_cold(
    jobs: Sequence[Job], rounds: int, folder: Path, python: str, steps: Steps, common: dict[str, Any]
) -> list[list[Measurement]]:
    """Measure `rounds` cold starts of each job; none of a job whose raw samples cannot be decoded here."""
    places = [index for index, job in enumerate(jobs) if job.candidate.fed is None]
    found: list[list[Measurement]] = [[] for _ in jobs]
    if rounds == 0 or not places:
        return found
    times: list[list[int]] = [[] for _ in jobs]
    answers: list[list[FirstAnswer]] = [[] for _ in jobs]
    memories: list[list[MemoryUse]] = [[] for _ in jobs]
    conditions: list[list[Conditions]] = [[] for _ in jobs]
    for block in range(rounds):
        for turn in turns(len(places), block):
            index = places[turn]
            steps.tell(f"{jobs[index].candidate.name}: cold start {block + 1} of {rounds}")
            with Child(jobs[index], folder, python=python, cold_start=True) as child:
                before = read_counters([child.pid])
                answers[index].append(child.receive(FirstAnswer, seconds=START_SECONDS))
                times[index].append(perf_counter_ns() - child.started_ns)
                conditions[index].append(between(before, read_counters([child.pid])))
                memories[index].append(child.receive(MemoryUse, seconds=30))
    for index in places:
        job, blocks = jobs[index], list(range(rounds))
        reasons = [
            *thread_reasons(job.threads),
            *machine_reasons(pooled(conditions[index])),
            *sample_reasons("cold-start", times[index], blocks),
        ]
        found[index] = [
            Measurement(
                subject=job.candidate.name,
                subject_digest=job.candidate.digest,
                precision=job.candidate.precision,
                scope="cold-start",
                scenario="once",
                batch=1,
                threads=job.threads,
                runtime=job.candidate.runtime,
                provider=answers[index][-1].provider,
                samples_ns=times[index],
                blocks=blocks,
                load_s=median(one.load_s for one in answers[index]),
                rss_bytes=max(one.rss_peak_bytes for one in memories[index]),
                pss_bytes=memories[index][-1].pss_bytes,
                valid=not reasons,
                reasons=reasons,
                **common,
            )
        ]
    return found
