"""Two sides beside each other: paired accuracy on the same samples, agreement, and ratios of costs."""

from statistics import fmean

from compactor_runtimes.compare.advice import advise
from compactor_runtimes.compare.comparison import Cost, Difference, Pair, Ratio, Score, Side
from compactor_runtimes.compare.sides import correct_answers, teacher_agreements
from compactor_runtimes.compare.sources import Source
from compactor_runtimes.report.format import UNPAIRED
from compactor_runtimes.stats import metrics
from compactor_runtimes.stats.time_ratio import Timing, time_ratio


def pair_of(a: Side, b: Side, source_a: Source, source_b: Source) -> Pair:
    """Compare B with A; costs only where machine and plan are the same."""
    times = time_ratios(a, b)
    difference, agreement = _difference(a, b, source_a, source_b), _agreement(source_a, source_b)
    size = size_ratio(a, b)
    metric = source_a.first.shipped.metric
    return Pair(
        a=a.letter,
        b=b.letter,
        difference=difference,
        agreement=agreement,
        times=times,
        size=size,
        rss=rss_ratio(a, b),
        recommendation=advise(
            a.letter, b.letter, metric, difference, agreement=agreement, times=times, size=size
        ),
        teacher_agreement=_teacher_agreement(source_a, source_b),
    )


def time_ratios(a: Side, b: Side) -> list[Ratio]:
    """Times of b over those of a, of what both measured; none where machine or plan differ.

    Times of the server scenario are those of two rates, and no such comparison.
    """
    costs = {(cost.scope, cost.scenario, cost.batch): cost for cost in b.costs}
    return [
        _time_ratio(cost, other, (b.runtime, a.runtime))
        for cost in (a.costs if _is_comparable(a, b) else [])
        if cost.scenario != "server" and (other := costs.get((cost.scope, cost.scenario, cost.batch)))
    ]


def rss_ratio(a: Side, b: Side) -> float | None:
    """Peak memory of b over that of a, if it may be compared."""
    return b.rss_bytes / a.rss_bytes if _is_comparable(a, b) and a.rss_bytes and b.rss_bytes else None


def size_ratio(a: Side, b: Side) -> float | None:
    """Size of b over that of a."""
    return b.size_bytes / a.size_bytes if a.size_bytes and b.size_bytes else None


def _is_comparable(a: Side, b: Side) -> bool:
    return not any((a.other_machine, a.other_plan, b.other_machine, b.other_plan))


def _difference(a: Side, b: Side, source_a: Source, source_b: Source) -> Difference | None:
    """What shipped B gains on shipped A: paired where answers are right or wrong, else by intervals."""
    if source_a.first.shipped.metric in UNPAIRED:
        return unpaired(a.scores[-1], b.scores[-1])
    right_a = correct_answers(source_a, [run.shipped.subject for run in source_a.runs])
    right_b = correct_answers(source_b, [run.shipped.subject for run in source_b.runs])
    if right_a is None or right_b is None:
        return None
    interval = metrics.bootstrap_difference(right_a, right_b)
    single = len(right_a) == len(right_b) == 1
    test = metrics.mcnemar(right_a[0], right_b[0]) if single else None
    return _in_points(interval, test, paired=True)


def unpaired(a: Score, b: Score) -> Difference:
    """Take the most cautious interval: from the worst of b over the best of a to the opposite."""
    interval = metrics.Interval(value=b.value - a.value, low=b.low - a.high, high=b.high - a.low, n=b.n)
    return _in_points(interval, None, paired=False)


def _teacher_agreement(a: Source, b: Source) -> Difference | None:
    """What shipped B gains on shipped A in agreement with the teachers of each, paired by sample."""
    agrees_a, agrees_b = teacher_agreements(a), teacher_agreements(b)
    if agrees_a is None or agrees_b is None:
        return None
    return _in_points(metrics.bootstrap_difference(agrees_a, agrees_b), None, paired=True)


def _in_points(interval: metrics.Interval, test: metrics.McNemar | None, *, paired: bool) -> Difference:
    return Difference(
        points=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        n=interval.n,
        mcnemar=test,
        # McNemar counts single answers; of averaged ones only the interval can be judged
        verdict=metrics.noise_verdict(interval, test.p if test else 0.0),
        paired=paired,
    )


def _agreement(a: Source, b: Source) -> float | None:
    """Share of all samples with equal top classes, averaged over all pairs of seeds; None for embeddings."""
    shares = [
        float((one.predictions.top1[one.shipped.subject] == two.predictions.top1[two.shipped.subject]).mean())
        for one in a.runs
        for two in b.runs
        if one.predictions is not None and two.predictions is not None
    ]
    return fmean(shares) if shares else None


def _time_ratio(a: Cost, b: Cost, runtimes: tuple[str, str]) -> Ratio:
    """Time of b over time of a; `runtimes` are theirs, b's first."""
    found = time_ratio(
        *(Timing(one.median_ns, one.blocks_ns, one.session) for one in (a, b)),
    )
    return Ratio(
        scope=a.scope,
        scenario=a.scenario,
        value=found.value,
        low=found.low,
        high=found.high,
        verdict=found.verdict,
        valid=a.valid and b.valid,
        runtimes=runtimes,
        batch=a.batch,
    )
