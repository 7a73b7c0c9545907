"""What is measured, how long, and what comes back; plus the messages between the harness and its workers.

A worker's messages are JSON, one a line. Durations are nanoseconds in samples and milliseconds in budgets.
"""

from typing import Any, Literal

from msgspec import field

from compactor_runtimes.bundle.manifest import Post, Pre, Record
from compactor_runtimes.measure.anatomy import Anatomy
from compactor_runtimes.stats.percentiles import Percentile, Spread, percentile, spread

Scope = Literal["compute", "end-to-end", "cold-start"]
Scenario = Literal["single-stream", "offline", "server"]
ProfileName = Literal["smoke", "quick", "standard", "long"]


class Fed(Record, frozen=True):
    """Arrays that stand for decoded samples: a safetensors file, and the keys of each sample's inputs."""

    tensors: str
    keys: list[dict[str, str]]


class Candidate(Record, frozen=True):
    """One thing to measure: a runtime, what it opens, how raw samples go in and labels out.

    `runtime` is a name in the table of `backends` or a "module:attr", `options` are what its opener takes.

    `pre`, `post` and `labels` are those of a manifest, `assets` the folder that `pre` finds its files in (the
    bundle's, or one laid out like it); `parameters` is None where the format does not tell. `threads` is its
    own number of threads, None takes the settings'. `fed` stands for raw samples that cannot be decoded here:
    then the compute times of single samples are all that is measured.
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
    threads: int | None = None
    fed: Fed | None = None


class Budget(Record, frozen=True):
    """How much of one block: at least `min_queries` and `min_ms`, unless the queries would exceed `max_ms`.

    For the offline scenario a query is one batch.
    """

    min_queries: int
    min_ms: int
    max_ms: int

    def queries(self, expected_ns: int) -> int:
        """How many queries of that time at least: a slow model gets as many as fit.

        It is the pooled count of all blocks that licenses percentiles.
        """
        return max(1, min(self.min_queries, self.max_ms * 1_000_000 // expected_ns))


class Profile(Record, frozen=True):
    """How thoroughly to measure: alternating `blocks`, each with one budget for every scope and scenario.

    `soak_s` is how long memory is watched under queries of mixed sizes, `trial_s` how long one rate of the
    server scenario is tried at least.
    """

    blocks: int
    max_samples: int
    single_stream: dict[Scope, Budget]
    offline: dict[Scope, Budget]
    cold_starts: int
    soak_s: float
    trial_s: float


def _profile(
    blocks: int,
    max_samples: int,
    budgets: list[tuple[int, int, int]],
    *,
    cold: int,
    soak: float,
    trial: float,
) -> Profile:
    """`budgets` are those of compute and end-to-end, one sample at a time, then offline."""
    single, whole, offline, offline_whole = (
        Budget(min_queries=queries, min_ms=least, max_ms=most) for queries, least, most in budgets
    )
    return Profile(
        blocks=blocks,
        max_samples=max_samples,
        single_stream={"compute": single, "end-to-end": whole},
        offline={"compute": offline, "end-to-end": offline_whole},
        cold_starts=cold,
        soak_s=soak,
        trial_s=trial,
    )


# A candidate's measuring time is about blocks x the sum of min_ms, 1, 3, 9 and 200 s, and a tenth of a second
# for each block and part between. From 8 blocks on two candidates are told apart at 99%
# (`stats/time_ratio.py`).
PROFILES: dict[ProfileName, Profile] = {
    "smoke": _profile(
        2,
        32,
        [(22, 120, 300), (22, 120, 300), (1, 100, 200), (1, 100, 200)],
        cold=1,
        soak=0.0,
        trial=0.5,
    ),
    "quick": _profile(  # 12 x 39 > 459 license p99, 12 x 8 > 90 license p95
        12,
        64,
        [(39, 100, 400), (8, 60, 250), (1, 60, 250), (1, 40, 200)],
        cold=3,
        soak=2.0,
        trial=2.0,
    ),
    # many short blocks: what wanders from block to block is what hides a small difference
    "standard": _profile(  # 64 x 72 > 4603 license p99.9, 64 x 8 > 459 license p99
        64,
        128,
        [(72, 40, 750), (8, 25, 500), (1, 40, 500), (1, 30, 400)],
        cold=5,
        soak=10.0,
        trial=10.0,
    ),
    "long": _profile(  # license p99.9 of both scopes
        200,
        256,
        [(24, 250, 1000), (24, 250, 1000), (1, 250, 1000), (1, 250, 1000)],
        cold=10,
        soak=60.0,
        trial=60.0,
    ),
}


class Bound(Record, frozen=True):
    """What the server scenario holds to: share `q` of all queries is answered within `ns` of its arrival."""

    q: float
    ns: int


class Settings(Record, frozen=True):
    """What to measure.

    `threads` None leaves the number to each runtime, which takes no more than the usable cores.
    `offline_batches` are measured each by itself. `cold_starts` None takes the profile's number. `bound` is
    needed by the server scenario. `dissect` also looks at stages, operators and memory over time.
    """

    scenarios: list[Scenario] = field(default_factory=lambda: ["single-stream", "offline"])
    profile: ProfileName = "quick"
    threads: int | None = None
    offline_batches: list[int] = field(default_factory=lambda: [32])
    cold_starts: int | None = None
    bound: Bound | None = None
    dissect: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.scenarios or len(set(self.scenarios)) != len(self.scenarios):
            raise ValueError(f"measure.scenarios: got {self.scenarios}, expected one or more, each once")
        batches = self.offline_batches
        if not batches or len(set(batches)) != len(batches) or min(batches) < 1:
            raise ValueError(f"measure.offline_batches: got {batches}, expected one or more >= 1, each once")
        for name, value, least in (("threads", self.threads, 1), ("cold_starts", self.cold_starts, 0)):
            if value is not None and value < least:
                raise ValueError(f"measure.{name}: got {value}, expected >= {least}")


class Measurement(Record, frozen=True):
    """Raw samples of one subject, scope and scenario, with everything needed to judge them.

    Single-stream samples are one input's time, offline samples one batch's, cold-start samples one process's
    (scenario `once`: process start to first answer, files in the page cache). `blocks` holds the block id of
    each sample. `load_s` is opening the runtime, its libraries' import included (for cold starts the median).
    `rss_bytes` is the process's peak and `pss_bytes` its share once it has answered every kind of query, and
    before the load generator adds its own; both include the pre-decoded samples.

    `runtime` is the name in the table of runtimes, `driver` what issued the load. Measurements of one
    `session` took turns, so that their blocks of one id are compared in pairs. `cpu_ns` is the process's
    CPU time over all timed queries, `energy_j` what the machine's meter counted meanwhile, None where it has
    none. Server samples run from arrival to answer, at the highest rate `rate_per_s` that holds `bound`.
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
    runtime: str = ""
    driver: str = ""
    session: str = ""
    cpu_ns: int | None = None
    energy_j: float | None = None
    rate_per_s: float | None = None
    bound: Bound | None = None

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
    """What one worker process opens and feeds, in batches of which sizes."""

    candidate: Candidate
    raw_samples: list[str]
    threads: int | None
    batches: list[int]


class RunBlock(Record, frozen=True, tag="block"):
    """Command: measure one block; answered by BlockResult."""

    id: int
    scope: Scope
    scenario: Scenario
    batch: int
    budget: Budget
    first: bool = False


class RunTrial(Record, frozen=True, tag="trial"):
    """Command: let `queries` arrive at one rate of the server scenario; answered by BlockResult."""

    id: int
    scope: Scope
    rate_per_s: float
    queries: int
    bound: Bound


class Dissect(Record, frozen=True, tag="dissect"):
    """Command: take times of stages, soak, and run the profiler; answered by Dissection."""

    queries: int
    soak_s: float


class ReadMemory(Record, frozen=True, tag="memory"):
    """Command: answer with MemoryUse; sent before the first block, when all workers are alive."""


class Quit(Record, frozen=True, tag="quit"):
    """Command: close the runtime and exit."""


class Ready(Record, frozen=True, tag="ready"):
    """Answer: the runtime is open and has answered each kind of query once."""

    load_s: float
    provider: str
    driver: str = ""


class BlockResult(Record, frozen=True, tag="block-result"):
    """Answer: one block's samples, its CPU time, and the load generator's complaints about it."""

    id: int
    samples_ns: list[int]
    complaints: list[str]
    cpu_ns: int = 0


class Dissection(Record, frozen=True, tag="dissection"):
    """Answer: where time and memory go."""

    anatomy: Anatomy


class MemoryUse(Record, frozen=True, tag="memory-use"):
    """Answer: memory of the process; `pss_bytes` is None where the kernel does not tell."""

    rss_peak_bytes: int
    rss_bytes: int
    pss_bytes: int | None


class FirstAnswer(Record, frozen=True, tag="first-answer"):
    """Answer of a cold start: the label of one raw sample; MemoryUse follows it."""

    label: str
    load_s: float
    provider: str


Command = RunBlock | RunTrial | Dissect | ReadMemory | Quit
Answer = Ready | BlockResult | Dissection | MemoryUse | FirstAnswer
