"""Generate load and time every query: with LoadGen where it is installed, else with our own driver."""

from collections.abc import Callable
from functools import cache
from importlib import metadata

from compactor_runtimes.measure.measurement import Budget, Scenario
from compactor_runtimes.measure.queries import Load, Query, settle, warm_up

LOADGEN, OWN = "LoadGen", "compactor"


@cache
def driver() -> str:
    """What issues the load here: `LoadGen 6.0.17`, or `compactor` where LoadGen has no package."""
    try:
        return f"{LOADGEN} {metadata.version('mlcommons-loadgen')}"
    except metadata.PackageNotFoundError:
        return OWN


def run_load(
    query: Query,
    *,
    scenario: Scenario,
    num_samples: int,
    budget: Budget,
    first: bool = False,
    started: Callable[[], None] = lambda: None,
) -> Load:
    """Warm up, then run one block in this process; several in turn are fine.

    Args:
        query: what is timed.
        scenario: `single-stream` or `offline`.
        num_samples: how many distinct samples there are to ask for.
        budget: queries and milliseconds of this block.
        first: whether it is the first block of its kind, which is warmed up until it is steady.
        started: called when the warm-up is over.

    Raises:
        UnfitEnvironmentError: no room for the files of LoadGen.
    """
    expected_ns = settle(query) if first else warm_up(query)
    started()
    if driver() == OWN:
        from compactor_runtimes.measure.own_driver import run_own

        return run_own(query, num_samples=num_samples, budget=budget, expected_ns=expected_ns)
    from compactor_runtimes.measure.loadgen import run_loadgen

    return run_loadgen(
        query, scenario=scenario, num_samples=num_samples, budget=budget, expected_ns=expected_ns
    )


def run_server(
    query: Query, *, num_samples: int, rate_per_s: float, queries: int, q: float, bound_ns: int, seed: int
) -> list[int]:
    """Try one rate of the server scenario; return the time from arrival to answer of each query in ns."""
    warm_up(query)
    if driver() == OWN:
        from compactor_runtimes.measure.own_driver import serve_own

        return serve_own(query, num_samples=num_samples, rate_per_s=rate_per_s, queries=queries, seed=seed)
    from compactor_runtimes.measure.loadgen import serve_loadgen

    return serve_loadgen(
        query,
        num_samples=num_samples,
        rate_per_s=rate_per_s,
        queries=queries,
        q=q,
        bound_ns=bound_ns,
        seed=seed,
    )
