"""What is measured, how long, and what comes back; plus the messages between the harness and its workers.

A worker's messages are JSON, one a line. Durations are nanoseconds in samples and milliseconds in budgets.
"""

from typing import Any, Literal

from msgspec import field

from compactor_runtimes.bundle.manifest import Post, Pre, Record
from compactor_runtimes.stats.percentiles import Percentile, Spread, percentile, spread

Scope = Literal["compute", "end-to-end", "cold-start"]
Scenario = Literal["single-stream", "offline"]
ProfileName = Literal["smoke", "quick", "full"]


class Candidate(Record, frozen=True):
    """One thing to measure: a runtime, what it opens, how raw samples go in and labels out.

    `runtime` is a name in the table of `backends` or a "module:attr", `options` are what its opener takes.

    `pre`, `post` and `labels` are those of a manifest, `assets` the folder that `pre` finds its files in (the
    bundle's, or one laid out like it); `parameters` is None where the format does not tell.
    """

    name: str
    runtime: str
    source: str
    digest: str
    pre: list[Pre]
    post: list[Post]
    labels: dict[str, list[str]]
    size_bytes: int
    assets: str = ""
    parameters: int | None = None
    precision: str = "fp32"
    options: dict[str, Any] = {}


class Budget(Record, frozen=True):
    """How much of one block: at least `min_queries` and `min_ms`, unless the queries would exceed `max_ms`.

    For the offline scenario a query is one batch.
    """

    min_queries: int
    min_ms: int
    max_ms: int


class Profile(Record, frozen=True):
    """How thoroughly to measure: alternating `blocks`, each with one budget for every scope and scenario."""

    blocks: int
    max_samples: int
    single_stream: dict[Scope, Budget]
    offline: dict[Scope, Budget]


# A candidate's measuring time is about blocks x the sum of min_ms: 1 s, 5 s and 4 minutes.
PROFILES: dict[ProfileName, Profile] = {
    "smoke": Profile(
        blocks=2,
        max_samples=32,
        single_stream={
            "compute": Budget(min_queries=22, min_ms=120, max_ms=300),
            "end-to-end": Budget(min_queries=22, min_ms=120, max_ms=300),
        },
        offline={
            "compute": Budget(min_queries=1, min_ms=100, max_ms=200),
            "end-to-end": Budget(min_queries=1, min_ms=100, max_ms=200),
        },
    ),
    "quick": Profile(
        blocks=3,
        max_samples=64,
        single_stream={
            "compute": Budget(min_queries=153, min_ms=600, max_ms=1200),  # 3 x 153 = 459 license p99
            "end-to-end": Budget(min_queries=30, min_ms=400, max_ms=800),  # 3 x 30 = 90 license p95
        },
        offline={
            "compute": Budget(min_queries=3, min_ms=300, max_ms=800),
            "end-to-end": Budget(min_queries=3, min_ms=200, max_ms=600),
        },
    ),
    "full": Profile(
        blocks=3,
        max_samples=256,
        single_stream={
            "compute": Budget(
                min_queries=1535, min_ms=20_000, max_ms=60_000
            ),  # 3 x 1535 > 4603 license p99.9
            "end-to-end": Budget(min_queries=1535, min_ms=20_000, max_ms=60_000),
        },
        offline={
            "compute": Budget(min_queries=10, min_ms=20_000, max_ms=60_000),
            "end-to-end": Budget(min_queries=10, min_ms=20_000, max_ms=60_000),
        },
    ),
}


class Settings(Record, frozen=True):
    """What to measure; `threads` None leaves the number to each runtime's own default."""

    scenarios: list[Scenario] = field(default_factory=lambda: ["single-stream", "offline"])
    profile: ProfileName = "quick"
    threads: int | None = None
    offline_batch: int = 32
    cold_starts: int = 3

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.scenarios or len(set(self.scenarios)) != len(self.scenarios):
            raise ValueError(f"measure.scenarios: got {self.scenarios}, expected one or more, each once")
        for name, value, least in (
            ("threads", self.threads, 1),
            ("offline_batch", self.offline_batch, 1),
            ("cold_starts", self.cold_starts, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"measure.{name}: got {value}, expected >= {least}")


class Measurement(Record, frozen=True):
    """Raw samples of one subject, scope and scenario, with everything needed to judge them.

    Single-stream samples are one input's time, offline samples one batch's, cold-start samples one process's
    (scenario `once`: process start to first answer, files in the page cache). `blocks` holds the block id of
    each sample. `load_s` is opening the runtime, its libraries' import included (for cold starts the median).
    `rss_bytes` is the process's peak and `pss_bytes` its share once it has answered every kind of query, and
    before the load generator adds its own; both include the pre-decoded samples.
    """

    subject: str
    subject_digest: str
    scope: Scope
    scenario: Scenario | Literal["once"]
    batch: int
    sample_set_digest: str
    threads: int | None
    provider: str
    samples_ns: list[int]
    blocks: list[int]
    load_s: float
    rss_bytes: int
    pss_bytes: int | None
    environment: dict[str, Any]
    valid: bool
    reasons: list[str]
    precision: str = "fp32"

    @property
    def n(self) -> int:
        """Number of raw samples."""
        return len(self.samples_ns)

    @property
    def spread(self) -> Spread:
        """Median, deviation, range and block medians."""
        return spread(self.samples_ns, self.blocks)

    @property
    def median_ns(self) -> float:
        """Median in nanoseconds; of a batch for the offline scenario."""
        return self.spread.median_ns

    def percentile(self, q: float) -> Percentile:
        """Percentile `q`, or why there is none."""
        return percentile(self.samples_ns, q)

    @property
    def images_per_s(self) -> float:
        """Throughput: all inputs (images, texts) over the sum of all sample times."""
        return self.batch * self.n * 1e9 / max(sum(self.samples_ns), 1)


class Job(Record, frozen=True):
    """What one worker process opens and feeds."""

    candidate: Candidate
    raw_samples: list[str]
    threads: int | None
    scenarios: list[Scenario]
    offline_batch: int


class RunBlock(Record, frozen=True, tag="block"):
    """Command: measure one block; answered by BlockResult."""

    id: int
    scope: Scope
    scenario: Scenario
    budget: Budget


class ReadMemory(Record, frozen=True, tag="memory"):
    """Command: answer with MemoryUse; sent before the first block, when all workers are alive."""


class Quit(Record, frozen=True, tag="quit"):
    """Command: close the runtime and exit."""


class Ready(Record, frozen=True, tag="ready"):
    """Answer: the runtime is open and has answered each kind of query once."""

    load_s: float
    provider: str


class BlockResult(Record, frozen=True, tag="block-result"):
    """Answer: one block's samples, and the load generator's complaints about it."""

    id: int
    samples_ns: list[int]
    complaints: list[str]


class MemoryUse(Record, frozen=True, tag="memory-use"):
    """Answer: memory of the process; `pss_bytes` is None where the kernel does not tell."""

    rss_peak_bytes: int
    pss_bytes: int | None


class FirstAnswer(Record, frozen=True, tag="first-answer"):
    """Answer of a cold start: the label of one raw sample; MemoryUse follows it."""

    label: str
    load_s: float
    provider: str


Command = RunBlock | ReadMemory | Quit
Answer = Ready | BlockResult | MemoryUse | FirstAnswer
