"""Issue load where there is no LoadGen: the same scenarios, in Python.

Single-stream asks the next sample when the last is answered, offline asks batch after batch, in the server
scenario queries arrive at random moments and one thread answers them. A query's time runs from when it should
have arrived, so that a late driver hides nothing.
"""

from random import Random
from time import perf_counter_ns, sleep

from compactor_runtimes.measure.measurement import Budget
from compactor_runtimes.measure.queries import Load, Query, Serving, timed

_SPIN_NS = 200_000  # a sleep ends late by about that much: the rest is waited for awake


def run_own(query: Query, *, num_samples: int, budget: Budget, expected_ns: int, seed: int = 0) -> Load:
    """Ask at random until the budget's queries and time are reached, four times its longest time at most."""
    pick, samples_ns = Random(seed), [0] * 0
    queries, begin = budget.queries(expected_ns), perf_counter_ns()
    least_ns, most_ns = budget.min_ms * 1_000_000, 4_000_000 * max(budget.max_ms, budget.min_ms)
    while True:
        samples_ns.append(timed(query, pick.randrange(num_samples)))
        elapsed_ns = perf_counter_ns() - begin
        if (len(samples_ns) >= queries and elapsed_ns >= least_ns) or elapsed_ns >= most_ns:
            return Load(samples_ns, [])


def serve_own(query: Query, *, num_samples: int, rate_per_s: float, queries: int, seed: int) -> list[int]:
    """Let `queries` arrive with exponential gaps, `rate_per_s` of them a second on average.

    Returns:
        Time from arrival to answer of each query in ns, in order of arrival.
    """
    random = Random(seed)
    with Serving(query) as serving:
        at_ns = perf_counter_ns()
        for _ in range(queries):
            at_ns += round(1e9 * random.expovariate(rate_per_s))
            _wait_until(at_ns)
            serving.arrive(random.randrange(num_samples), at_ns=at_ns)
    return serving.samples_ns


def _wait_until(at_ns: int) -> None:
    while (left_ns := at_ns - perf_counter_ns()) > 0:
        if left_ns > _SPIN_NS:
            sleep((left_ns - _SPIN_NS) / 1e9)
        else:
            sleep(0)  # gives the interpreter to the thread that answers
