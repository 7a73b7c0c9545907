"""What to load on this machine: `policy.py` applied to the subjects of a profile, in words."""

from collections.abc import Sequence

from compactor_runtimes.backends import find_runtime
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.measure.machine_profile import ProfileSubject, Recommendation
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.measure.wish import Wish
from compactor_runtimes.report.decide.choice import complexity, lost_points
from compactor_runtimes.report.decide.policy import Option, Pick, front, pick, ratio_of
from compactor_runtimes.report.format import times
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.stats.time_ratio import timing_of
from compactor_runtimes.units import scaled

_BY = {"size": "the smallest files", "memory": "the least memory", "accuracy": "the least lost on select"}


def recommend(
    rows: Sequence[ProfileSubject],
    artifacts: Sequence[Artifact],
    measurements: Sequence[Measurement],
    wish: Wish,
) -> Recommendation:
    """Choose among the subjects that were measured; `artifacts` are those of `rows`, in their order."""
    single = {
        one.subject: one
        for one in measurements
        if (one.scope, one.scenario) == ("compute", "single-stream") and one.n
    }
    options, reasons = [], {}
    for number, (row, artifact) in enumerate(zip(rows, artifacts, strict=True)):
        if row.not_run:
            continue
        one = single.get(row.name)
        if one is None or not one.valid:
            reasons[row.name] = "not measured" if one is None else "; ".join(one.reasons)
        options.append(_option(row, artifact, one, number))
    if not options:
        return Recommendation(policy=wish.by, subject="", why="nothing could be measured")
    if wish.by == "latency" and len(reasons) == len(options) > 1:
        first = next(iter(reasons.values()))
        why = f"every compute time of single samples is INVALID or missing ({first})"
        return Recommendation(policy=wish.by, subject="", why=why)
    found = pick(options, wish)
    return Recommendation(
        policy=wish.by,
        subject=found.option.name,
        why=_why(found, wish, reasons),
        batch=_batch(found.option.name, measurements),
        front=front(options),
    )


def _option(row: ProfileSubject, artifact: Artifact, one: Measurement | None, number: int) -> Option:
    backend = find_runtime(row.runtime)
    second = row.runtime != next(iter(artifact.runtimes), row.runtime)
    return Option(
        name=row.name,
        complexity=(*complexity(artifact), bool(row.runtime_precision), second, number),
        timing=timing_of(one.spread, one.session) if one is not None and one.valid else None,
        size_bytes=row.size_bytes,
        memory_bytes=None if one is None else one.pss_bytes or one.rss_bytes,
        # a number type that the runtime was asked for loses what no gate has seen
        lost_points=None if row.runtime_precision else lost_points(artifact),
        is_code=backend.is_code,
        is_verified=artifact.status == "verified" and not row.runtime_precision,
    )


def _why(found: Pick, wish: Wish, reasons: dict[str, str]) -> str:
    option, plain = found.option, found.plain
    parts = []
    if found.by == "only":
        parts.append("the only one that was measured")
    elif wish.by != "latency" and found.by == wish.by:
        parts.append(f"{_BY[found.by]}: {scaled(option.size_bytes, 'B')}")
    elif found.by == "size":
        parts.append(
            f"time cannot decide, and it is {times(plain.size_bytes / option.size_bytes)} times smaller than "
            f"{plain.name}"
        )
    elif found.by == "time":
        ratio = ratio_of(plain, option)
        assert ratio is not None
        bounds = f"[{times(1 / ratio.high)}, {times(1 / ratio.low)}]"
        parts.append(f"{times(1 / ratio.value)} times as fast as {plain.name} {bounds}")
    else:
        parts.append("the simplest, and nothing is faster by more than the noise")
    if option.timing is not None:
        parts.append(f"{format_ns(option.timing.median_ns)} for one sample (median, compute)")
    elif option.name in reasons:
        parts.append(f"its compute time is INVALID or missing ({reasons[option.name]})")
    parts += [f"{name} is outside {key}" for name, key in found.left_out.items() if name != option.name]
    return "; ".join(parts)


def _batch(subject: str, measurements: Sequence[Measurement]) -> int | None:
    """The batch with the highest valid throughput; of those within 5% of it the smallest."""
    rates = {
        one.batch: one.images_per_s
        for one in measurements
        if (one.subject, one.scope, one.scenario) == (subject, "compute", "offline") and one.valid
    }
    if not rates:
        return None
    return min(batch for batch, rate in rates.items() if rate >= 0.95 * max(rates.values()))
