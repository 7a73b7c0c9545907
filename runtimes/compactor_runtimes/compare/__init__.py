"""Compare what runs or bundles ship: accuracy on the same samples with paired statistics, and cost ratios.

The first one is the baseline of every pair. Costs of two machines or plans are shown, never divided.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from compactor_runtimes.compare.advice import advise
from compactor_runtimes.compare.comparison import Comparison, Cost, Difference, Pair, Ratio, Score, Side
from compactor_runtimes.compare.sources import (
    Source,
    machine_difference,
    open_source,
    plan_difference,
    require_comparable,
)
from compactor_runtimes.compare.terminal import render_comparison
from compactor_runtimes.errors import UsageError
from compactor_runtimes.report import Kind
from compactor_runtimes.report.format import RANK_CORRELATION
from compactor_runtimes.stats import metrics
from compactor_runtimes.stats.time_ratio import Timing, time_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "compare", "render_comparison"]


def compare(
    paths: Sequence[str | Path], *, across_machines: bool = False, across_plans: bool = False
) -> Comparison:
    """Compare each run folder, bundle or folder of seeds with the first one.

    Args:
        paths: two or more.
        across_machines: compare accuracy although machines differ; then no cost ratio is given.
        across_plans: the same where the measurement plans differ.

    Raises:
        UsageError: fewer than two paths, other samples, or another machine or plan without leave.
        IntegrityError: a file is damaged or missing.
    """
    if len(paths) < 2:
        raise UsageError(f"compare: got {len(paths)} run, expected two or more")
    sources = [open_source(Path(path)) for path in paths]
    baseline = sources[0].first
    for source in sources:
        for run in source.runs:
            require_comparable(baseline, run)
    machines = [_first_difference(source, sources[0], machine_difference) for source in sources]
    plans = [_first_difference(source, sources[0], plan_difference) for source in sources]
    for source, machine, plan in zip(sources, machines, plans, strict=True):
        if machine and not across_machines:
            raise UsageError(
                f"{source.path}: was measured on another machine than {baseline.path} ({machine}); measure "
                "both on one machine, or give --across-machines to compare their accuracy alone"
            )
        if plan and not across_plans:
            raise UsageError(
                f"{source.path}: was measured by another plan than {baseline.path} ({plan}); measure both by "
                "one plan, or give --across-plans to compare their accuracy alone"
            )
    sides = [
        _side(_letter(number), source, machine=machine, plan=plan)
        for number, (source, machine, plan) in enumerate(zip(sources, machines, plans, strict=True))
    ]
    pairs = [
        _pair(sides[0], side, sources[0], source) for side, source in zip(sides[1:], sources[1:], strict=True)
    ]
    return Comparison(
        task=baseline.report.task,
        metric=baseline.shipped.metric,
        samples=baseline.samples,
        sides=sides,
        pairs=pairs,
        notes=_notes(sources),
    )


def _side(letter: str, source: Source, *, machine: str, plan: str) -> Side:
    sizes = {run.shipped.size_bytes for run in source.runs}
    warm = [
        max(rss)
        for run in source.runs
        if (rss := [one.rss_bytes for one in run.measurements if one.scope != "cold-start"])
    ]
    return Side(
        letter=letter,
        path=source.path,
        title=source.first.report.title,
        recipe=source.first.report.recipe,
        runs=len(source.runs),
        shipped=source.first.shipped.subject,
        scores=[score for kind in ("teacher", "student", "artifact") if (score := _score(source, kind))],
        costs=_costs(source),
        size_bytes=sizes.pop() if len(sizes) == 1 else None,
        rss_bytes=round(median(warm)) if warm else None,
        other_machine=machine,
        other_plan=plan,
    )


def _score(source: Source, kind: Kind) -> Score | None:
    """Score one subject; over several seeds the mean, with the bootstrap interval of averaged correctness."""
    rows = [row for run in source.runs if (row := run.row(kind)) is not None]
    if not rows or len(rows) < len(source.runs):
        return None
    values = [row.value for row in rows]
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    right = _correct(source, [row.subject for row in rows])
    if len(rows) > 1 and right is not None:
        interval = metrics.bootstrap_difference(right[:1] & ~right[:1], right)  # against always wrong
        low, high = interval.low, interval.high
    return Score(
        kind=kind,
        subject=rows[0].subject,
        value=fmean(values),
        low=low,
        high=high,
        n=rows[0].n,
        seed_low=min(values),
        seed_high=max(values),
    )


def _correct(source: Source, subjects: Sequence[str]) -> "NDArray[Any] | None":
    """Correctness bool [S, N] of one subject a run; None without labels or predictions."""
    import numpy as np

    rows = []
    for run, subject in zip(source.runs, subjects, strict=True):
        if run.predictions is None or not run.report.labelled or subject not in run.predictions.top1:
            return None
        rows.append(run.predictions.correct(subject))
    return np.stack(rows) if rows[0].size else None


def _costs(source: Source) -> list[Cost]:
    """Pool the blocks of all runs for every scope and scenario that each of them measured."""
    found: dict[tuple[str, str], list[Any]] = {}
    for run in source.runs:
        for one in run.measurements:
            if one.samples_ns:
                found.setdefault((one.scope, one.scenario), []).append(one)
    costs = []
    for (scope, scenario), members in found.items():
        if len(members) < len(source.runs):
            continue
        blocks = [value for one in members for value in one.spread.block_medians_ns]
        costs.append(
            Cost(
                scope=scope,
                scenario=scenario,
                batch=members[0].batch,
                median_ns=median(blocks),
                low_ns=min(blocks),
                high_ns=max(blocks),
                blocks=len(blocks),
                n=sum(one.n for one in members),
                valid=all(one.valid for one in members),
            )
        )
    return costs


def _pair(a: Side, b: Side, source_a: Source, source_b: Source) -> Pair:
    comparable = not any((a.other_machine, a.other_plan, b.other_machine, b.other_plan))
    costs_a = {(cost.scope, cost.scenario): cost for cost in a.costs} if comparable else {}
    costs_b = {(cost.scope, cost.scenario): cost for cost in b.costs}
    times = [_time_ratio(cost, costs_b[key]) for key, cost in costs_a.items() if key in costs_b]
    difference, agreement = _difference(a, b, source_a, source_b), _agreement(source_a, source_b)
    size = b.size_bytes / a.size_bytes if a.size_bytes and b.size_bytes else None
    metric = source_a.first.shipped.metric
    return Pair(
        a=a.letter,
        b=b.letter,
        difference=difference,
        agreement=agreement,
        times=times,
        size=size,
        rss=b.rss_bytes / a.rss_bytes if comparable and a.rss_bytes and b.rss_bytes else None,
        recommendation=advise(
            a.letter, b.letter, metric, difference, agreement=agreement, times=times, size=size
        ),
    )


def _difference(a: Side, b: Side, source_a: Source, source_b: Source) -> Difference | None:
    """What shipped B gains on shipped A: paired where there are labels, by two intervals for embeddings."""
    if source_a.first.shipped.metric == RANK_CORRELATION:
        return _unpaired(a.scores[-1], b.scores[-1])
    right_a = _correct(source_a, [run.shipped.subject for run in source_a.runs])
    right_b = _correct(source_b, [run.shipped.subject for run in source_b.runs])
    if right_a is None or right_b is None:
        return None
    interval = metrics.bootstrap_difference(right_a, right_b)
    single = len(right_a) == len(right_b) == 1
    test = metrics.mcnemar(right_a[0], right_b[0]) if single else None
    return Difference(
        points=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        n=interval.n,
        mcnemar=test,
        # McNemar counts single answers; of averaged ones only the interval can be judged
        verdict=metrics.noise_verdict(interval, test.p if test else 0.0),
        paired=True,
    )


def _unpaired(a: Score, b: Score) -> Difference:
    """Take the most cautious interval: from the worst of b over the best of a to the opposite."""
    interval = metrics.Interval(value=b.value - a.value, low=b.low - a.high, high=b.high - a.low, n=b.n)
    return Difference(
        points=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        n=interval.n,
        mcnemar=None,
        verdict=metrics.noise_verdict(interval, 0.0),
        paired=False,
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


def _time_ratio(a: Cost, b: Cost) -> Ratio:
    """Time of b over time of a."""
    found = time_ratio(
        *(Timing(one.median_ns, one.low_ns, one.high_ns, one.blocks) for one in (a, b)),
    )
    return Ratio(
        scope=a.scope,
        scenario=a.scenario,
        value=found.value,
        low=found.low,
        high=found.high,
        verdict=found.verdict,
        valid=a.valid and b.valid,
    )


def _first_difference(source: Source, baseline: Source, difference: Any) -> str:
    found = (difference(baseline.first, run) for run in source.runs)
    return next((each for each in found if each), "")


def _notes(sources: list[Source]) -> list[str]:
    """What a reader must know to read the pairs rightly."""
    notes, metric = [], sources[0].first.shipped.metric
    teachers = {row.subject if (row := source.first.row("teacher")) else "" for source in sources}
    if metric == RANK_CORRELATION:
        notes.append("embeddings: the values of the reports are compared, samples are not paired")
    elif not sources[0].first.report.labelled:
        notes.append("no labels: only the agreement between the two is compared")
    if (metric == RANK_CORRELATION or not sources[0].first.report.labelled) and len(teachers) > 1:
        notes.append(f"the {metric} of each is with its own teachers, and these differ")
    if len({len(source.runs) for source in sources} | {1}) == 1 and metric != RANK_CORRELATION:
        notes.append("one seed each: this compares these models, not the recipes that made them")
    notes.append("costs come from runs at different times, which did not take turns")
    return notes


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"R{number + 1}"
