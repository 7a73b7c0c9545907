"""The rules that make a measurement INVALID; each broken one is a sentence in its `reasons`.

1. Block medians lie within 25% of each other (cold starts within 50%), or the machine was not steady.
2. A single-stream measurement has samples for at least p90; a cold start has at least 3 samples.
3. LoadGen itself calls every block valid.
4. There are no more threads than usable cores.
5. Before the start, other processes used at most 20% of the CPU.
"""

from compactor_runtimes.environment import usable_cores
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.measure.measurement import Scope
from compactor_runtimes.stats.percentiles import licence, spread

MAX_DRIFT: dict[Scope, float] = {"compute": 0.25, "end-to-end": 0.25, "cold-start": 0.5}
MIN_COLD_STARTS = 3
MAX_BUSY_PERCENT = 20.0


def machine_reasons(threads: int | None, *, watch_seconds: float = 0.3) -> list[str]:
    """Check rules 4 and 5 for the whole run, while our own workers are idle.

    Raises:
        MissingDependency: psutil is not installed.
    """
    with needs_extra("bench"):
        import psutil
    reasons = []
    cores = usable_cores()
    if threads is not None and threads > cores:
        reasons.append(f"{threads} threads on {cores} usable cores")
    busy = psutil.cpu_percent(interval=watch_seconds)
    if busy > MAX_BUSY_PERCENT:
        reasons.append(
            f"other processes used {busy:.0f}% of the CPU before the start (limit {MAX_BUSY_PERCENT:.0f}%)"
        )
    return reasons


def sample_reasons(scope: Scope, scenario: str, samples_ns: list[int], blocks: list[int]) -> list[str]:
    """Check rules 1 and 2 on the samples of one measurement."""
    reasons = []
    drift, limit = spread(samples_ns, blocks).block_drift, MAX_DRIFT[scope]
    if drift > limit:
        what = "cold starts" if scope == "cold-start" else "block medians"
        reasons.append(f"{what} differ by {drift:.0%} (limit {limit:.0%})")
    n = len(samples_ns)
    if scope == "cold-start" and n < MIN_COLD_STARTS:
        reasons.append(f"{n} cold starts (needs {MIN_COLD_STARTS})")
    if scenario == "single-stream" and n < licence(0.9):
        reasons.append(f"{n} samples carry no percentile beyond the median (p90 needs {licence(0.9)})")
    return reasons
