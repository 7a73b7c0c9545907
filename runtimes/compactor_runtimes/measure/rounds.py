"""The alternating blocks of all workers, and what became of each kind of measurement.

Of each worker every part (scope, scenario, batch) is measured in each block. What other processes did
meanwhile is counted for each block by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import sleep
from typing import Any, NamedTuple

from compactor_runtimes.measure.child import Child
from compactor_runtimes.measure.conditions import Conditions, between, pooled, read_counters
from compactor_runtimes.measure.energy import Meter, open_meter
from compactor_runtimes.measure.measurement import (
    PROFILES,
    BlockResult,
    Bound,
    Budget,
    Candidate,
    Job,
    Measurement,
    MemoryUse,
    Ready,
    RunBlock,
    Scenario,
    Scope,
    Settings,
)
from compactor_runtimes.measure.progress import Steps
from compactor_runtimes.measure.quiet import wait_until_quiet
from compactor_runtimes.measure.validity import machine_reasons, sample_reasons, thread_reasons

SETTLE_SECONDS = 0.03  # threads of ONNX Runtime spin for about 25 ms after their last call


class Part(NamedTuple):
    """One kind of measurement: what is timed, under which load, how much of it in each block."""

    scope: Scope
    scenario: Scenario
    batch: int
    budget: Budget


class Worker(NamedTuple):
    """A running worker, what it is to measure, and what it said when it was ready."""

    job: Job
    parts: list[Part]
    child: Child
    ready: Ready
    memory: MemoryUse

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.job.candidate.name


@dataclass
class Taken:
    """Samples of one worker and part so far; `turn` says with whose blocks they took turns."""

    turn: str = ""
    samples_ns: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    conditions: list[Conditions] = field(default_factory=list)
    cpu_ns: int = 0
    energy_j: float | None = None

    def add(self, block: int, result: BlockResult, conditions: Conditions, joules: float | None) -> None:
        """Take one block."""
        self.samples_ns += result.samples_ns
        self.blocks += [block] * len(result.samples_ns)
        self.complaints += [f"{text} (block {block + 1})" for text in result.complaints]
        self.conditions.append(conditions)
        self.cpu_ns += result.cpu_ns
        if joules is not None:
            self.energy_j = (self.energy_j or 0.0) + joules

    def reasons(self, scope: Scope) -> list[str]:
        """Why it is INVALID, as far as measuring it again may help; empty if it is not."""
        return machine_reasons(pooled(self.conditions)) + sample_reasons(scope, self.samples_ns, self.blocks)


def parts_of(candidate: Candidate, settings: Settings) -> list[Part]:
    """List what each block measures of a candidate, in order; the server scenario has no such blocks."""
    profile = PROFILES[settings.profile]
    tables = {"single-stream": profile.single_stream, "offline": profile.offline}
    if candidate.fed is not None:
        return [Part("compute", "single-stream", 1, profile.single_stream["compute"])]
    scenarios: list[Scenario] = [one for one in settings.scenarios if one != "server"]
    return [
        Part(scope, scenario, batch, budget)
        for scenario in scenarios
        for batch in (settings.offline_batches if scenario == "offline" else [1])
        for scope, budget in tables[scenario].items()
    ]


def turns(count: int, block: int) -> list[int]:
    """Order of the candidates in a block: each block starts one further on."""
    return [(block + offset) % count for offset in range(count)]


class Rounds:
    """All workers with what was taken of each part, in their order."""

    def __init__(self, workers: Sequence[Worker], blocks: int, steps: Steps) -> None:
        """Nothing is measured yet."""
        self.workers, self.steps = workers, steps
        self._blocks = blocks
        self._meter: Meter | None = open_meter()
        self.taken = [[Taken() for _ in one.parts] for one in workers]
        self.done = 0

    def run(self) -> None:
        """Measure all blocks, workers in turn."""
        kinds = list(
            dict.fromkeys(
                (part.scope, part.scenario, part.batch) for one in self.workers for part in one.parts
            )
        )
        for block in range(self._blocks):
            for kind in kinds:
                for index in turns(len(self.workers), block):
                    worker = self.workers[index]
                    for number, part in enumerate(worker.parts):
                        if (part.scope, part.scenario, part.batch) == kind:
                            self._run_block(worker, part, block, self.taken[index][number])
            self.done = block + 1

    def run_again(self, turn: str, wait_quiet_s: float | None) -> None:
        """Measure again what is INVALID, by itself; whether it is better now, it counts."""
        for worker, mine in zip(self.workers, self.taken, strict=True):
            for number, part in enumerate(worker.parts):
                if not mine[number].reasons(part.scope):
                    continue
                if wait_quiet_s is not None:
                    wait_until_quiet(self.pids, wait_quiet_s, self.steps)
                mine[number] = Taken(turn)
                for block in range(self._blocks):
                    self._run_block(worker, part, block, mine[number], what=f" again ({turn[-1]})")

    @property
    def pids(self) -> list[int]:
        """Processes of ours."""
        return [one.child.pid for one in self.workers]

    def ask(
        self, worker: Worker, command: Any, seconds: float
    ) -> tuple[BlockResult, Conditions, float | None]:
        """Let a worker measure something, and count what happened besides."""
        sleep(SETTLE_SECONDS)
        energy = None if self._meter is None else self._meter.joules()
        before = read_counters(self.pids)
        result = worker.child.ask(command, BlockResult, seconds=seconds)
        conditions = between(before, read_counters(self.pids))
        joules = None if self._meter is None or energy is None else self._meter.joules() - energy
        return result, conditions, joules

    def _run_block(self, worker: Worker, part: Part, block: int, taken: Taken, *, what: str = "") -> None:
        size = f" of {part.batch}" if part.scenario == "offline" else ""
        self.steps.tell(
            f"{worker.name}: {part.scope}, {part.scenario}{size}, block {block + 1} of {self._blocks}{what}"
        )
        command = RunBlock(
            id=block,
            scope=part.scope,
            scenario=part.scenario,
            batch=part.batch,
            budget=part.budget,
            first=block == 0,
        )
        # generous: warm-up, a slow offline query and a busy machine all come out of it
        taken.add(block, *self.ask(worker, command, 120 + 20 * part.budget.max_ms / 1000))

    def measurements(
        self, common: dict[str, Any], served: "Sequence[Sequence[Served]]"
    ) -> list[list[Measurement]]:
        """What was measured of each worker, and under which rates of arrivals it `served`."""
        return [
            [
                measurement_of(
                    worker,
                    taken,
                    common,
                    scope=part.scope,
                    scenario=part.scenario,
                    batch=part.batch,
                    reasons=taken.reasons(part.scope),
                )
                for part, taken in zip(worker.parts, mine, strict=True)
            ]
            + [
                measurement_of(
                    worker,
                    one.taken,
                    common,
                    scope=one.scope,
                    scenario="server",
                    batch=1,
                    reasons=one.reasons,
                    rate_per_s=one.rate_per_s,
                    bound=one.bound,
                )
                for one in others
            ]
            for worker, mine, others in zip(self.workers, self.taken, served, strict=True)
        ]


@dataclass(frozen=True)
class Served:
    """The highest rate of arrivals that held `bound` in a scope, with the latencies at it."""

    scope: Scope
    bound: Bound
    taken: Taken
    rate_per_s: float | None
    reasons: list[str]


def measurement_of(
    worker: Worker,
    taken: Taken,
    common: dict[str, Any],
    *,
    scope: Scope,
    scenario: Scenario,
    batch: int,
    reasons: list[str],
    rate_per_s: float | None = None,
    bound: Bound | None = None,
) -> Measurement:
    """Put together what is known of one worker and part."""
    job = worker.job
    every = [*thread_reasons(job.threads), *reasons, *taken.complaints]
    return Measurement(
        subject=job.candidate.name,
        subject_digest=job.candidate.digest,
        precision=job.candidate.precision,
        scope=scope,
        scenario=scenario,
        batch=batch,
        threads=job.threads,
        runtime=job.candidate.runtime,
        provider=worker.ready.provider,
        driver=worker.ready.driver,
        samples_ns=taken.samples_ns,
        blocks=taken.blocks,
        load_s=worker.ready.load_s,
        rss_bytes=worker.memory.rss_peak_bytes,
        pss_bytes=worker.memory.pss_bytes,
        cpu_ns=taken.cpu_ns or None,
        energy_j=taken.energy_j,
        rate_per_s=rate_per_s,
        bound=bound,
        valid=not every,
        reasons=every,
        **{**common, "session": f"{common['session']}{taken.turn}"},
    )
