"""One side of a comparison: what a run, a bundle or a folder of seeds scores and costs."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from compactor_runtimes.compare.comparison import Cost, Score, Side
from compactor_runtimes.compare.sources import Source
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.report.contents import Kind
from compactor_runtimes.report.format import runtime_name, unique
from compactor_runtimes.stats import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray


def side_of(letter: str, source: Source, *, machine: str, plan: str) -> Side:
    """Sum one side up; `machine` and `plan` say how it differs from the baseline's, if it does."""
    sizes = {run.shipped.size_bytes for run in source.runs}
    return Side(
        letter=letter,
        path=source.path,
        title=source.first.report.title,
        recipe=source.first.report.recipe,
        runs=len(source.runs),
        shipped=source.first.shipped.subject,
        scores=[score for kind in ("teacher", "student", "artifact") if (score := _score(source, kind))],
        costs=costs_of([run.measurements for run in source.runs]),
        size_bytes=sizes.pop() if len(sizes) == 1 else None,
        rss_bytes=rss_of([run.measurements for run in source.runs]),
        other_machine=machine,
        other_plan=plan,
        runtime=unique(runtime_name(one) for run in source.runs for one in run.measurements),
    )


def rss_of(runs: Sequence[Sequence[Measurement]]) -> int | None:
    """Peak memory of the warm process, the median over all runs."""
    warm = [max(rss) for run in runs if (rss := [one.rss_bytes for one in run if one.scope != "cold-start"])]
    return round(median(warm)) if warm else None


def _score(source: Source, kind: Kind) -> Score | None:
    """Score one subject; over several seeds the mean, with the bootstrap interval of averaged correctness."""
    rows = [row for run in source.runs if (row := run.row(kind)) is not None]
    if not rows or len(rows) < len(source.runs):
        return None
    values = [row.value for row in rows]
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    right = correct_answers(source, [row.subject for row in rows])
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


def correct_answers(source: Source, subjects: Sequence[str]) -> "NDArray[Any] | None":
    """Correctness bool [S, N] of one subject a run; None without labels or predictions."""
    import numpy as np

    rows = []
    for run, subject in zip(source.runs, subjects, strict=True):
        if run.predictions is None or not run.report.labelled or subject not in run.predictions.top1:
            return None
        rows.append(run.predictions.correct(subject))
    return np.stack(rows) if rows[0].size else None


def teacher_agreements(source: Source) -> "NDArray[Any] | None":
    """Whether what was shipped has the teachers' top class, bool [S, N]; None without their answers."""
    import numpy as np

    rows = []
    for run in source.runs:
        teacher, answers = run.row("teacher"), run.predictions
        if answers is None or teacher is None or teacher.subject not in answers.top1:
            return None
        rows.append(answers.top1[run.shipped.subject] == answers.top1[teacher.subject])
    return np.stack(rows) if rows[0].size else None


def costs_of(runs: Sequence[Sequence[Measurement]]) -> list[Cost]:
    """Pool the blocks of all runs for every scope, scenario and batch that each of them measured."""
    found: dict[tuple[str, str, int], list[Measurement]] = {}
    for run in runs:
        for one in run:
            if one.samples_ns:
                found.setdefault((one.scope, one.scenario, one.batch), []).append(one)
    costs = []
    for (scope, scenario, batch), members in found.items():
        if len(members) < len(runs):
            continue
        blocks = [value for one in members for value in one.spread.block_medians_ns]
        costs.append(
            Cost(
                scope=scope,
                scenario=scenario,
                batch=batch,
                median_ns=median(blocks),
                blocks_ns=tuple(blocks),
                n=sum(one.n for one in members),
                valid=all(one.valid for one in members),
                session=members[0].session if len(members) == 1 else "",
                rate_per_s=_rate(members),
            )
        )
    return costs


def _rate(members: Sequence[Measurement]) -> float | None:
    """The rate of the server scenario, the mean over all runs; None of other scenarios."""
    rates = [one.rate_per_s for one in members if one.rate_per_s is not None]
    return fmean(rates) if len(rates) == len(members) else None
