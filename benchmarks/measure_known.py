"""Sessions whose truth is known: a distribution slept, work that is more or not, a busy neighbour."""

import math
import os
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist, median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy as np

from compactor_runtimes.bundle.manifest import SoftmaxPost
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, Fed, Measurement, Settings
from compactor_runtimes.stats.percentiles import percentile, upper_rank
from compactor_runtimes.stats.time_ratio import time_ratio, timing_of

QUICK = Settings(scenarios=["single-stream"], profile="quick", cold_starts=0)
STANDARD = Settings(scenarios=["single-stream"], profile="standard", cold_starts=0)
MEDIAN_S, SIGMA = 0.004, 0.3
UNITS, WORK_NS = 200, 20_000
TWO_SIDED = (0.5, 0.9)
"""Percentiles with a 99% interval from both sides; p99 has its 99% upper bound."""


def coverage(seed: int) -> dict[str, Any]:
    """Whether the known percentiles lie within their 99% intervals."""
    candidate = _candidate("sleeps", seed=seed, median_s=MEDIAN_S, sigma=SIGMA)
    (found,) = _measured([candidate])
    samples, n = sorted(found.samples_ns), found.n
    inside = {}
    for q in TWO_SIDED:
        upper, lower = upper_rank(n, q, confidence=0.995), upper_rank(n, 1 - q, confidence=0.995)
        assert upper is not None
        assert lower is not None
        inside[str(q)] = samples[n - lower] <= _truth_ns(q) <= samples[upper - 1]
    bound = percentile(samples, 0.99).upper_ns
    inside["0.99"] = bound is not None and _truth_ns(0.99) <= bound
    return {"n": n, "inside": inside, "valid": found.valid, "reasons": found.reasons}


def slowdown(percent: int) -> dict[str, Any]:
    """Compare work with so much more of it, two processes in turn."""
    more = round(UNITS * (1 + percent / 100))
    pair = [_candidate("works", "a", units=UNITS), _candidate("works", "b", units=more)]
    a, b = _measured(pair, STANDARD)
    ratio = time_ratio(timing_of(a.spread, a.session), timing_of(b.spread, b.session))
    return {
        "verdict": ratio.verdict,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "valid": a.valid and b.valid,
        "reasons": [*a.reasons, *b.reasons],
    }


def neighbour() -> dict[str, Any]:
    """Measure beside a process for every core that does nothing else but count."""
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        (found,) = _measured([_candidate("works", units=UNITS)])
    return {"valid": found.valid, "reasons": found.reasons}


def overhead(rounds: int = 5) -> dict[str, Any]:
    """From one query to the next, above a bare loop: LoadGen's and our own driver, around 20 us of work."""
    from compactor_runtimes.measure.loadgen import run_loadgen
    from compactor_runtimes.measure.measurement import Budget
    from compactor_runtimes.measure.own_driver import run_own

    budget = Budget(min_queries=5_000, min_ms=200, max_ms=2000)
    begun: list[int] = []

    def query(index: int) -> None:
        begun.append(perf_counter_ns())
        while perf_counter_ns() - begun[-1] < WORK_NS:
            pass

    def bare() -> None:
        for index in range(5_000):
            query(index)

    def own() -> None:
        run_own(query, num_samples=64, budget=budget, expected_ns=WORK_NS)

    def loadgen() -> None:
        run_loadgen(query, scenario="single-stream", num_samples=64, budget=budget, expected_ns=WORK_NS)

    found: dict[str, list[float]] = {"bare": [], "own": [], "loadgen": []}
    for _ in range(rounds):
        for name, run in (("bare", bare), ("own", own), ("loadgen", loadgen)):
            begun.clear()
            run()
            found[name].append(median(b - a for a, b in pairwise(begun)) / 1e3)
    return {
        f"{name}_us": [a - b for a, b in zip(found[name], found["bare"], strict=True)]
        for name in ("own", "loadgen")
    }


def fed_candidate(
    name: str, runtime: str, source: Path, arrays: Path, inputs: list[str], **more: Any
) -> Candidate:
    """A candidate that is fed one set of arrays, whose keys are the inputs' names."""
    return Candidate(
        name=name,
        runtime=runtime,
        source=str(source),
        digest="",
        pre=[],
        post=[SoftmaxPost(output="y", labels="y")],
        labels={"y": ["a", "b"]},
        size_bytes=0,
        fed=Fed(tensors=str(arrays), keys=[{name: name for name in inputs}]),
        **more,
    )


def _candidate(kind: str, name: str = "known", **options: Any) -> Candidate:
    runtime = f"benchmarks.measure_runtimes:{kind}"
    return fed_candidate(name, runtime, Path("nowhere"), Path("arrays"), ["x"], options=options)


def _measured(candidates: list[Candidate], settings: Settings = QUICK) -> list[Measurement]:
    from msgspec.structs import replace
    from safetensors.numpy import save_file

    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.safetensors"
        save_file({"x": np.zeros((1, 2), np.float32)}, arrays)
        mine = [
            replace(one, fed=replace(one.fed, tensors=str(arrays)))
            for one in candidates
            if one.fed is not None
        ]
        return measure(mine, [], settings).measurements


def _truth_ns(q: float) -> float:
    return 1e9 * math.exp(math.log(MEDIAN_S) + SIGMA * NormalDist().inv_cdf(q))
