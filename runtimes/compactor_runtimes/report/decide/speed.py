"""How fast the shipped subject is against its teacher, comparing like with like.

1. The headline divides two times that one runtime computed: the shipped subject's and the teacher's, or else
   the torch student's and the teacher's.
2. What the shipped subject's runtime does for the student is told apart, and never multiplied into that.
3. Times of two runtimes are told beside each other and nothing is divided: of the shipped subject and the
   teacher, where the headline is of others or of another runtime than the teacher's own.
4. What is INVALID is no claim: nothing is said of it but that it is not known.

"Time" is the median compute time of one sample everywhere.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.report.format import runtime_name, runtime_words, times
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.stats.time_ratio import TimeRatio, time_ratio, timing_of

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement

_RUNTIME = re.compile(r" \([^()]*\)$")  # `teachers (torch)`, and the same ones as `teachers (onnx)`


@dataclass(frozen=True)
class TwoTimes:
    """The time of `own` beside that of `other`."""

    own: "Measurement"
    other: "Measurement"

    @property
    def ratio(self) -> TimeRatio:
        """Time of `own` over time of `other`; below 1 is faster."""
        return time_ratio(*(timing_of(one.spread, one.session) for one in (self.other, self.own)))

    @property
    def valid(self) -> bool:
        """Whether both are."""
        return self.own.valid and self.other.valid


@dataclass(frozen=True)
class Speed:
    """What may be said of the shipped subject's speed, by the rules above; what is None cannot be said.

    `headline` is in one runtime, `own` is the shipped subject or the student. `change_of_runtime` is the
    shipped subject beside the student in another runtime, `apart` beside the teacher in another one.
    """

    headline: TwoTimes | None
    change_of_runtime: TwoTimes | None
    apart: TwoTimes | None

    @property
    def measurements(self) -> "list[Measurement]":
        """All that it rests on, each once."""
        pairs = [one for one in (self.headline, self.change_of_runtime, self.apart) if one is not None]
        found = {id(one): one for pair in pairs for one in (pair.own, pair.other)}
        return list(found.values())


def compute_latency(measurements: "list[Measurement]", subject: str) -> "Measurement | None":
    """The measured runtime calls of one sample, if there are any."""
    return next((one for one in _latencies(measurements) if one.subject == subject), None)


def speed_of(
    measurements: "list[Measurement]", shipped: str, *, student: str | None, teacher: str | None
) -> Speed:
    """Choose what is compared; all are subjects' names, and a teacher may be measured in several runtimes."""
    own = compute_latency(measurements, shipped)
    model = None if student is None else compute_latency(measurements, student)
    headline = next(
        (
            TwoTimes(one, reference)
            for one in (own, model)
            if one is not None and (reference := teacher_alike(measurements, teacher, one)) is not None
        ),
        None,
    )
    if own is None:
        return Speed(headline, None, None)
    apart = [one for one in _teachers(measurements, teacher) if not _is_alike(own, one)]
    if headline is not None and headline.own is own:
        return Speed(headline, None, TwoTimes(own, apart[0]) if apart else None)
    change = None if model is None or _is_alike(own, model) else TwoTimes(own, model)
    others = [] if headline is not None else apart
    return Speed(headline, change, TwoTimes(own, others[0]) if others else None)


def teacher_alike(
    measurements: "list[Measurement]", teacher: str | None, one: "Measurement"
) -> "Measurement | None":
    """The teacher in the runtime of `one`, by choice with as many threads and in the same precision."""
    alike = [other for other in _teachers(measurements, teacher) if _is_alike(one, other)]
    return min(
        alike,
        key=lambda other: (other.threads != one.threads, other.precision != one.precision),
        default=None,
    )


def as_fast(ratio: TimeRatio, other: str) -> str:
    """How fast something is against `other`, where the ratio is its time over that of `other`."""
    if ratio.verdict == "worse":
        return f"slower than {other}: {times(ratio.value)} times its time {_bounds(ratio.low, ratio.high)}"
    value, bounds = times(1 / ratio.value), _bounds(1 / ratio.high, 1 / ratio.low)
    if ratio.verdict == "noise":
        return (
            f"neither faster nor slower than {other} by more than the noise: {value} times as fast {bounds}"
        )
    return f"{value} times as fast as {other} {bounds}"


def in_one_runtime(speed: Speed, shipped: str) -> list[str]:
    """Rule 1 in words, to follow `Ship ...: `."""
    pair = speed.headline
    if pair is None or not pair.valid:
        return []
    who = "it is" if pair.own.subject == shipped else "the student is"
    said = as_fast(pair.ratio, pair.other.subject)
    return [f"in {runtime_name(pair.own)} {who} {said} (median compute of one sample {_about(pair)})"]


def between_runtimes(speed: Speed) -> list[str]:
    """Rules 2 and 3 in sentences."""
    sentences = []
    if (pair := speed.change_of_runtime) is not None and pair.valid:
        changed = pair.own.precision != pair.other.precision
        what = f"the student in {pair.own.precision}" if changed else "the same student"
        gain = "of runtime and precision" if changed else "of the runtime"
        sentences.append(
            f"{runtime_name(pair.own)} runs {what} {as_fast(pair.ratio, runtime_name(pair.other))} "
            f"({_about(pair)}): the effect {gain}, not of a smaller model."
        )
    if (pair := speed.apart) is not None and pair.valid:
        sentences.append(
            f"One sample takes {format_ns(pair.own.median_ns)} with {pair.own.subject} and "
            f"{format_ns(pair.other.median_ns)} with {pair.other.subject} (medians, {_counts(pair)}, "
            f"{_runtimes(pair)}): two runtimes, which says nothing of how much faster the model is."
        )
    return sentences


def _latencies(measurements: "list[Measurement]") -> "list[Measurement]":
    return [
        one for one in measurements if (one.scope, one.scenario) == ("compute", "single-stream") and one.n
    ]


def _teachers(measurements: "list[Measurement]", teacher: str | None) -> "list[Measurement]":
    """The teacher in every runtime that it was measured in, under its own name first."""
    if teacher is None:
        return []
    name = _RUNTIME.sub("", teacher)
    found = [one for one in _latencies(measurements) if name in (one.subject, _RUNTIME.sub("", one.subject))]
    return sorted(found, key=lambda one: one.subject != teacher)


def _is_alike(one: "Measurement", other: "Measurement") -> bool:
    return runtime_name(one) == runtime_name(other)


def _bounds(low: float, high: float) -> str:
    return f"[{times(low)}, {times(high)}]"


def _about(pair: TwoTimes) -> str:
    """Both times, what each rests on, and in what they differ."""
    medians = f"{format_ns(pair.own.median_ns)} against {format_ns(pair.other.median_ns)}"
    parts = [medians, _counts(pair), _runtimes(pair)]
    if pair.own.threads != pair.other.threads:
        parts.append(f"{_threads(pair.own)} against {_threads(pair.other)}")
    if pair.own.precision != pair.other.precision:
        parts.append(f"{pair.own.precision} against {pair.other.precision}")
    return ", ".join(parts)


def _counts(pair: TwoTimes) -> str:
    return f"n {pair.own.n:,} and {pair.other.n:,}"


def _runtimes(pair: TwoTimes) -> str:
    own, other = runtime_words(pair.own), runtime_words(pair.other)
    return f"both {own}" if own == other else f"{own} against {other}"


def _threads(one: "Measurement") -> str:
    if one.threads is None:
        return "the runtime's default of threads"
    return f"{one.threads} thread{'' if one.threads == 1 else 's'}"
