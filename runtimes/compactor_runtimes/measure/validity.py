"""The rules that make a measurement INVALID; each broken one is a sentence in its `reasons`.

1. Block medians lie within 25% of each other, the fastest and the slowest tenth left out (cold starts within
   50%), and those of the second half within 10% of the first half's, or the machine was not steady.
2. There are at least 3 samples.
3. LoadGen itself calls every block valid.
4. There are no more threads than usable cores.
5. While it was measured other processes used at most 10% of the CPU and the hypervisor took at most 2%; no
   quota stopped us for more than 1% of the time and no core was slowed for heat. Before a run without blocks,
   other processes used at most 20%.
"""

from statistics import median

from compactor_runtimes.environment import usable_cores
from compactor_runtimes.measure.conditions import Conditions
from compactor_runtimes.measure.measurement import Scope
from compactor_runtimes.stats.percentiles import spread

MAX_DRIFT: dict[Scope, float] = {"compute": 0.25, "end-to-end": 0.25, "cold-start": 0.5}
MAX_TREND = 0.1
MIN_SAMPLES = 3
MAX_OTHERS, MAX_STEAL, MAX_THROTTLED = 0.10, 0.02, 0.01
_TREND_BLOCKS = 8  # below, two halves say little


def thread_reasons(threads: int | None) -> list[str]:
    """Check rule 4."""
    cores = usable_cores()
    if threads is not None and threads > cores:
        return [f"{threads} threads on {cores} usable cores: take fewer threads"]
    return []


def machine_reasons(found: Conditions) -> list[str]:
    """Check rule 5, and say what to do."""
    reasons = []
    if (found.others or 0) > MAX_OTHERS:
        reasons.append(
            f"other processes used {found.others:.0%} of the CPU (limit {MAX_OTHERS:.0%}): stop them, "
            "or wait with `compactor measure BUNDLE --wait-quiet`"
        )
    if (found.steal or 0) > MAX_STEAL:
        reasons.append(
            f"the hypervisor took {found.steal:.0%} of the CPU (limit {MAX_STEAL:.0%}): "
            "measure again later, or on a machine of its own"
        )
    if found.throttled_s > MAX_THROTTLED * found.seconds:
        reasons.append(
            f"the CPU quota stopped the processes for {found.throttled_s:.2f} s of {found.seconds:.1f} s: "
            "take fewer threads, or raise the quota"
        )
    if found.heat_events:
        reasons.append(f"cores were slowed for heat {found.heat_events} times: cool the machine")
    return reasons


def sample_reasons(scope: Scope, samples_ns: list[int], blocks: list[int]) -> list[str]:
    """Check rules 1 and 2 on the samples of one measurement."""
    n = len(samples_ns)
    if scope == "cold-start":
        what, few = "cold starts", f"{n} cold starts (needs {MIN_SAMPLES})"
    else:
        what, few = "block medians", f"{n} samples (needs {MIN_SAMPLES}): measure longer (--profile)"
    if n < MIN_SAMPLES:
        return [few]
    medians = spread(samples_ns, blocks).block_medians_ns
    drift, limit = steadiness(medians), MAX_DRIFT[scope]
    if drift > limit:
        return [f"{what} differ by {drift:.0%} (limit {limit:.0%}): measure again on a steady machine"]
    moved = trend(medians)
    if scope != "cold-start" and abs(moved) > MAX_TREND:
        return [
            f"{what} moved by {moved:+.0%} from the first half to the second (limit {MAX_TREND:.0%}): "
            "measure again when the machine has settled"
        ]
    return []


def steadiness(medians_ns: list[float]) -> float:
    """Largest block median over the smallest, minus 1, a tenth of the blocks left out at each end."""
    ordered, left_out = sorted(medians_ns), len(medians_ns) // 10
    kept = ordered[left_out : len(ordered) - left_out]
    return kept[-1] / max(kept[0], 1e-9) - 1


def trend(medians_ns: list[float]) -> float:
    """By which share the second half's median lies above the first half's; 0 where there are few blocks."""
    half = len(medians_ns) // 2
    if len(medians_ns) < _TREND_BLOCKS:
        return 0.0
    return median(medians_ns[half:]) / max(median(medians_ns[:half]), 1e-9) - 1
