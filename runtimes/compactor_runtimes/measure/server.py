"""The server scenario: the highest rate of random arrivals at which a share of the answers comes in time.

1. A trial lets queries arrive at one rate (Poisson). It passes if the 99% upper bound of the latency's
   percentile lies within the bound: MLPerf's early-stopping rule, which says how many queries that takes.
2. The rate is halved in between, from one query after the other down, until two rates differ by less than 7%.
3. What is found is tried three times more, all candidates in turn; together these must pass, or it is
   lowered.
"""

from typing import NamedTuple

from compactor_runtimes.measure.conditions import pooled
from compactor_runtimes.measure.measurement import Bound, Budget, RunBlock, RunTrial, Scope
from compactor_runtimes.measure.rounds import Rounds, Served, Taken, Worker, turns
from compactor_runtimes.measure.validity import machine_reasons
from compactor_runtimes.stats.percentiles import format_ns, percentile, samples_needed

CLOSE = 1.07
CONFIRMATIONS, LOWERED, MOST_LOWERED = 3, 0.93, 6
MOST_SECONDS = 10  # a trial lasts as many times its usual length at most, so that slow models end too
_PROBE = Budget(min_queries=30, min_ms=200, max_ms=2000)


class _Found(NamedTuple):
    """A rate that passed, or why there is none."""

    rate_per_s: float | None
    reason: str = ""


def find_rates(rounds: Rounds, bound: Bound, trial_s: float) -> list[list[Served]]:
    """Find each worker's highest rate, end to end where raw samples can be decoded."""
    found = [_search(rounds, worker, bound, trial_s) for worker in rounds.workers]
    rates = [one.rate_per_s for one in found]
    taken = [Taken() for _ in rounds.workers]
    todo = [index for index, rate in enumerate(rates) if rate is not None]
    for lowered in range(MOST_LOWERED):
        if not todo:
            break
        for index in todo:
            taken[index] = Taken(turn="" if lowered == 0 else f"-lowered-{lowered}")
        for block in range(CONFIRMATIONS):
            for turn in turns(len(todo), block):
                index = todo[turn]
                _try(rounds, rounds.workers[index], bound, rates[index] or 0.0, trial_s, block, taken[index])
        todo = [index for index in todo if not _holds(taken[index], bound)]
        if lowered < MOST_LOWERED - 1:
            for index in todo:
                rates[index] = (rates[index] or 0.0) * LOWERED
    served = []
    for index, worker in enumerate(rounds.workers):
        reasons = [found[index].reason] if found[index].reason else []
        if index in todo:
            reasons.append("no rate held the bound in all repetitions: the machine is not steady")
        reasons += machine_reasons(pooled(taken[index].conditions))
        served.append([Served(_scope(worker), bound, taken[index], rates[index], reasons)])
    return served


def _search(rounds: Rounds, worker: Worker, bound: Bound, trial_s: float) -> _Found:
    """Rule 2."""
    probe = RunBlock(id=0, scope=_scope(worker), scenario="single-stream", batch=1, budget=_PROBE, first=True)
    rounds.steps.note(f"{worker.name}: server, one query after the other")
    alone = rounds.ask(worker, probe, 120)[0].samples_ns
    high = len(alone) * 1e9 / sum(alone)
    needed, most = samples_needed(bound.q), high * trial_s * MOST_SECONDS
    if needed > most:
        return _Found(
            None,
            f"p{100 * bound.q:g} of arrivals needs {needed:,} queries, and {most:,.0f} fit into a trial: "
            "take a lower percentile or a longer profile",
        )
    low: float | None = None
    rate = high / 2
    while low is None or high / low > CLOSE:
        if rate < high / 1000 or rate * trial_s * MOST_SECONDS < needed:
            return _Found(
                None,
                f"no rate holds p{100 * bound.q:g} within {format_ns(bound.ns)}: one query by itself takes "
                f"{format_ns(sum(alone) / len(alone))} on average",
            )
        taken = Taken()
        _try(rounds, worker, bound, rate, trial_s, 0, taken)
        if _holds(taken, bound):
            low = rate
        else:
            high = rate
        rate = (low + high) / 2 if low is not None else high / 4
    return _Found(low)


def _try(
    rounds: Rounds, worker: Worker, bound: Bound, rate: float, trial_s: float, block: int, taken: Taken
) -> None:
    """Rule 1: twice as many queries as the percentile needs, or as many as arrive in the trial's time."""
    queries = max(2 * samples_needed(bound.q), round(rate * trial_s))
    queries = max(1, min(queries, round(rate * trial_s * MOST_SECONDS)))
    rounds.steps.note(f"{worker.name}: server, {rate:,.4g} queries a second")
    command = RunTrial(id=block, scope=_scope(worker), rate_per_s=rate, queries=queries, bound=bound)
    result, conditions, joules = rounds.ask(worker, command, 120 + 20 * queries / rate)
    taken.add(block, result, conditions, joules)


def _holds(taken: Taken, bound: Bound) -> bool:
    found = percentile(taken.samples_ns, bound.q)
    return found.upper_ns is not None and found.value_ns is not None and found.upper_ns <= bound.ns


def _scope(worker: Worker) -> Scope:
    return "compute" if worker.job.candidate.fed is not None else "end-to-end"
