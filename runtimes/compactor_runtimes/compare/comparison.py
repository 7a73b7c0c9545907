"""The records of a comparison; every difference and ratio says what B is against A."""

from compactor_runtimes.bundle.manifest import Record
from compactor_runtimes.compare.gates import GateResult
from compactor_runtimes.report.contents import Kind
from compactor_runtimes.stats.metrics import McNemar, Verdict


class Score(Record, frozen=True):
    """What one subject of a side scores on `n` samples, share in [0, 1] with its 95% interval.

    Over several seeds it is their mean, `seed_low` and `seed_high` the worst and the best of them.
    """

    kind: Kind
    subject: str
    value: float
    low: float
    high: float
    n: int
    seed_low: float
    seed_high: float


class Cost(Record, frozen=True):
    """Time of a query (offline: of a batch) in ns: median, and the medians of all blocks in order.

    Of the server scenario the rate was found, `rate_per_s`; its times are those at that rate.
    """

    scope: str
    scenario: str
    batch: int
    median_ns: float
    blocks_ns: tuple[float, ...]
    n: int
    valid: bool
    session: str = ""
    rate_per_s: float | None = None


class Side(Record, frozen=True):
    """One of those compared; `other_machine` and `other_plan` say how it differs from the first one.

    `size_bytes` is the shipped artifact's, None if it differs between seeds; `rss_bytes` the process's peak.
    `runtime` computed what is shipped, empty where nothing was measured. Of a profile there is a side for
    each subject (`shipped`), under the letter of its file.
    """

    letter: str
    path: str
    title: str
    recipe: str
    runs: int
    shipped: str
    scores: list[Score]
    costs: list[Cost]
    size_bytes: int | None
    rss_bytes: int | None
    other_machine: str
    other_plan: str
    runtime: str = ""


class Difference(Record, frozen=True):
    """Shipped b minus shipped a in points, with a 95% interval; `mcnemar` where each side is one run.

    Not `paired` means that only the two intervals were compared, which shows less than there may be.
    """

    points: float
    low: float
    high: float
    n: int
    mcnemar: McNemar | None
    verdict: Verdict
    paired: bool


class Ratio(Record, frozen=True):
    """Time of b over time of a: below 1 is faster; `low`, `high` and verdict as in `stats/time_ratio.py`.

    `valid` if both measurements are. `runtimes` names that of b and that of a.
    """

    scope: str
    scenario: str
    value: float
    low: float
    high: float
    verdict: Verdict
    valid: bool
    runtimes: tuple[str, str] = ("", "")
    batch: int = 1


class Pair(Record, frozen=True):
    """b against a: `difference` is None without labels; `times` and `rss` only on one machine and plan.

    `teacher_agreement` is the difference in agreement with the teacher, None where answers are not kept.
    `subjects` are those of two profiles (a's, b's). A profile's pair has no recommendation.
    """

    a: str
    b: str
    difference: Difference | None
    agreement: float | None
    times: list[Ratio]
    size: float | None
    rss: float | None
    recommendation: str
    teacher_agreement: Difference | None = None
    subjects: tuple[str, str] = ("", "")


class Comparison(Record, frozen=True):
    """Everything that `compare` found; `samples` is the digest of the report samples of all sides.

    Of profiles `metric` and `samples` are empty. `gates` holds every gate for every pair.
    """

    task: str
    metric: str
    samples: str
    sides: list[Side]
    pairs: list[Pair]
    notes: list[str]
    gates: list[GateResult] = []
