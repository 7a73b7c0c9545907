"""Where one subject's time and memory go: what computed it, stages, operators, floor, memory.

Records alone; they are part of a profile and of a report. A part that is None was not looked at or could not
be, and `notes` says why. Durations are nanoseconds, sizes bytes.
"""

from typing import Literal

from compactor_runtimes.bundle.manifest import Record

Stage = Literal["decode", "copy", "compute", "post"]
MemoryStage = Literal["start", "loaded", "steady", "soak"]


class OperatorTime(Record, frozen=True):
    """One operator of the graph as the runtime executes it: mean time of a run of one sample.

    `kind` is its type in the runtime's words, `provider` what computed it, `precision` in which number type
    (`f32`, `bf16`, `f16`, `i8`, or what the runtime calls it; empty where it does not say).
    """

    name: str
    kind: str
    provider: str
    precision: str
    ns: float


class Placement(Record, frozen=True):
    """On what and in which precision a graph really ran.

    `share` of the operators ran on the provider that was `asked` for; `precisions` holds the share of the
    operators by the number type in which they computed (operators that only move data are left out).
    """

    asked: str
    share: float
    precisions: dict[str, float]


class Split(Record, frozen=True):
    """Raw times of the stages of answering one raw sample, of the same queries in the same order.

    `decode` is decoding or tokenising and everything else before the runtime; `copy` is moving inputs into
    the runtime's memory and outputs out of it, all zero where it reads and writes them in place; `compute` is
    the runtime's call without `copy`; `post` turns outputs into an answer.
    """

    samples_ns: dict[Stage, list[int]]


class Work(Record, frozen=True):
    """What the graph has to do for one sample.

    `flops` counts a multiply-add as 2; `bytes` is the least that must move: weights, inputs and outputs, each
    once. `counted_by` names what gave the shapes.
    """

    flops: int
    bytes: int
    counted_by: str


class Peaks(Record, frozen=True):
    """What this machine reached with so many threads, in about a second each.

    Floating-point operations of a float32 matrix product; bytes read and written of a copy of memory.
    """

    flops_per_s: float
    bytes_per_s: float
    threads: int
    measured_by: str


class Roofline(Record, frozen=True):
    """The floor of one sample's compute time: the slower of its work at the peaks, by which it is `bound`."""

    work: Work
    peaks: Peaks
    floor_ns: float
    bound: Literal["compute", "memory"]


class MemoryPoint(Record, frozen=True):
    """The process's memory at `seconds` after its start, having answered `queries`."""

    seconds: float
    stage: MemoryStage
    queries: int
    rss_bytes: int
    pss_bytes: int | None


class MemoryTrace(Record, frozen=True):
    """Memory over time.

    At the start, with the runtime open, once every kind of query was answered, and under a soak of queries of
    mixed sizes and lengths.

    `slope` is how many bytes the second half of the soak grew by a query (Theil-Sen), with its 95% interval;
    None where it was too short to tell.
    """

    points: list[MemoryPoint]
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None


class Anatomy(Record, frozen=True):
    """All of it for one subject, by the name that its measurements have."""

    subject: str
    placement: Placement | None = None
    split: Split | None = None
    operators: list[OperatorTime] = []
    work: Work | None = None
    roofline: Roofline | None = None
    memory: MemoryTrace | None = None
    notes: list[str] = []
