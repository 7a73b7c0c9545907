"""`make confirm`: repeat the first steps of arms, and a block of timings, at today's code.

1. An arm is repeated for its first seed, at the rate that was chosen. Equal bytes of the weights on the same
   kind of CPU confirm it; otherwise its figure on select must lie inside the 99% prediction interval of the
   arm's seeds, or within one point where there are fewer than three.
2. A timing is repeated for one block, on the same kind of CPU only. Each of its figures must lie inside the
   99% prediction interval of the blocks.
3. What is current needs no repeat; a run that kept no first steps cannot be repeated.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev

from benchmarks.arms import Sentinel, first_steps
from benchmarks.figures import Run
from benchmarks.results_file import (
    Content,
    code_key,
    commit,
    cpu_of,
    enter,
    provenance,
    read_results,
    settings_key,
    write_results,
)
from benchmarks.states import code_today, run_state
from benchmarks.suites import Suite
from compactor_runtimes.environment import describe

LEVEL = 0.99
FEW, POINT = 3, 0.01


@dataclass(frozen=True)
class Verdict:
    """Whether a repeat gave the same, and how that was told."""

    same: bool
    how: str


def confirm_suite(
    suite: Suite, say: Callable[[str], None], *, repeat_all: bool = False
) -> dict[str, Verdict]:
    """Repeat what is not current, or everything, and note in the results file what is confirmed.

    Returns:
        The verdict by arm; arms that cannot be repeated have none.
    """
    content = read_results(suite.name)
    found: dict[str, Verdict] = {}
    by_arm: dict[str, list[Run]] = {}
    for run in content.get("runs", []):
        by_arm.setdefault(suite.arm(run["settings"]), []).append(run)
    wanted = {
        arm: runs
        for arm, runs in by_arm.items()
        if repeat_all or any(run_state(suite, content, run).kind != "current" for run in runs)
    }
    timed = {arm: runs for arm, runs in wanted.items() if suite.is_timed(runs[0]["settings"])}
    started_s = time.perf_counter()
    found |= _timings(suite, content, timed, say)
    for arm, runs in wanted.items():
        verdict = found.get(arm) or _training(suite, content, runs)
        if verdict is None:
            continue
        found[arm] = verdict
        word = "the same" if verdict.same else "NOT the same"
        say(f"{suite.name}/{arm}: {word}: {verdict.how} ({time.perf_counter() - started_s:.0f} s)")
        content["confirmed"].pop(arm, None)
        if verdict.same:
            made = enter(content, provenance(suite, runs[0]["settings"]))
            content["confirmed"][arm] = {
                "commit": commit(),
                "date": made["date"],
                "machine": made["machine"],
                "code": code_key(code_today(suite, content, runs[0])),
                "how": verdict.how,
            }
        write_results(content)
        started_s = time.perf_counter()
    return found


def _training(suite: Suite, content: Content, runs: list[Run]) -> Verdict | None:
    """Rule 1 for a run of an arm that kept its first steps."""
    seen = [run for run in runs if run["result"].get("sentinel")]
    if not seen:
        return None
    groups: dict[str, list[Run]] = {}
    for run in seen:
        groups.setdefault(_but_seed(run), []).append(run)
    siblings = max(groups.values(), key=len)  # those of the rate that was chosen have more than one seed
    first = siblings[0]
    suite.prepare(first["settings"])
    now = first_steps(suite.recipe(first["settings"]), suite.name, shared=suite.shared, watched=suite.watched)
    same_cpu = cpu_of(content["machines"][first["machine"]]) == cpu_of(describe())
    return judge(Sentinel(**first["result"]["sentinel"]), now, [_figure(run) for run in siblings], same_cpu)


def judge(then: Sentinel, now: Sentinel, seeds: list[float], same_cpu: bool) -> Verdict:
    """Compare first steps by rule 1; `seeds` are the figures of the arm's seeds after as many steps."""
    if same_cpu and now.weights == then.weights:
        return Verdict(True, f"equal bytes after {now.steps} steps")
    name, value = next(iter(now.figures.items()))
    if len(seeds) >= FEW:
        low, high = prediction_interval(seeds)
        where = f"the 99% prediction interval of {len(seeds)} seeds"
    else:
        low, high = then.figures[name] - POINT, then.figures[name] + POINT
        where = "one point of the run"
    bytes_differ = "other bytes" if same_cpu else "another kind of CPU"
    inside = low <= value <= high
    told = f"{bytes_differ}; {name} {value:.4f} after {now.steps} steps, {'inside' if inside else 'outside'}"
    return Verdict(inside, f"{told} {where} ({low:.4f} to {high:.4f})")


def _timings(
    suite: Suite, content: Content, timed: dict[str, list[Run]], say: Callable[[str], None]
) -> dict[str, Verdict]:
    """Rule 2: one block of all timed arms together, as their figures may be ratios between them."""
    here = cpu_of(describe())
    blocks = {
        arm: [run for run in runs if run["settings"].get("block") == 0]
        for arm, runs in timed.items()
        if all(cpu_of(content["machines"][run["machine"]]) == here for run in runs)
    }
    again = {}
    for arm, runs in blocks.items():
        try:
            again[arm] = [run | {"result": suite.execute(run["settings"])} for run in runs]
        except RuntimeError as error:  # what it measures is made by another run, and is not here
            say(f"{suite.name}/{arm}: not repeated: {str(error).strip().splitlines()[-1]}")
    again = {arm: runs for arm, runs in again.items() if runs}
    if not again:
        return {}
    others = [run for run in content["runs"] if suite.arm(run["settings"]) not in again]
    now = suite.figures([*others, *(run for runs in again.values() for run in runs)])
    found = {}
    for arm in again:
        told, same = [], True
        for name, one in content["figures"].items():
            values = one.get("values", [])
            if arm not in one.get("arms", [arm]) or len(values) < FEW or name not in now:
                continue
            low, high = prediction_interval(values)
            inside = low <= now[name].value <= high
            same &= inside
            where = "inside" if inside else "OUTSIDE"
            told.append(f"{name} {now[name].value:.3g} {where} {low:.3g} to {high:.3g}")
        if told:
            found[arm] = Verdict(same, f"one block: {'; '.join(told)}")
    return found


def prediction_interval(values: list[float]) -> tuple[float, float]:
    """Where the next value lies with 99% if all are normal: mean -+ t(n - 1) * s * sqrt(1 + 1/n)."""
    from scipy.stats import t

    n = len(values)
    wide = float(t.ppf((1 + LEVEL) / 2, n - 1)) * stdev(values) * math.sqrt(1 + 1 / n)
    return mean(values) - wide, mean(values) + wide


def _figure(run: Run) -> float:
    """The first figure on select after the first steps."""
    return float(next(iter(run["result"]["sentinel"]["figures"].values())))


def _but_seed(run: Run) -> str:
    return settings_key({name: value for name, value in run["settings"].items() if name != "seed"})
