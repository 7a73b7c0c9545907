"""Issue load with MLPerf LoadGen's scenarios; these are LoadGen scenarios, not MLPerf results.

LoadGen decides when and which sample is asked; the clock stands tightly around the query, so LoadGen's own
cost (about 2 microseconds of Python callback) is not in the samples. A LoadGen sample is one query of ours,
for the offline scenario a whole batch. In the server scenario a query's time runs from the callback of its
arrival.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra
from compactor_runtimes.files import writing
from compactor_runtimes.measure.measurement import Budget, Scenario
from compactor_runtimes.measure.queries import Failing, Load, Query, Serving, timed


def run_loadgen(
    query: Query, *, scenario: Scenario, num_samples: int, budget: Budget, expected_ns: int
) -> Load:
    """Run one LoadGen test of the single-stream or the offline scenario in this process.

    Args:
        query: what is timed.
        scenario: `single-stream` asks the next sample when the last is answered; `offline` hands over all.
        num_samples: how many distinct samples there are to ask for.
        budget: queries and milliseconds of this block.
        expected_ns: the fastest query of the warm-up.

    Raises:
        MissingDependency: LoadGen is not installed.
        UnfitEnvironmentError: no room for the files of LoadGen.
    """
    with needs_extra("bench"):
        import mlperf_loadgen as loadgen

    samples_ns: list[int] = []
    failing = Failing()

    def ask(index: int) -> None:
        samples_ns.append(timed(query, index))

    def issue(asked: list[Any]) -> None:
        for one in asked:
            # an exception that unwinds LoadGen's C++ frames crashes the process later: it is kept for the end
            failing.call(partial(ask, one.index))
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(one.id, 0, 0) for one in asked])

    settings = loadgen.TestSettings()
    settings.min_duration_ms = budget.min_ms
    queries = budget.queries(expected_ns)
    settings.min_query_count = queries
    if scenario == "single-stream":
        settings.scenario = loadgen.TestScenario.SingleStream
        # LoadGen prepares min_duration / this many queries and is INVALID if they run out: guess low
        settings.single_stream_expected_latency_ns = max(expected_ns // 2, 1)
        settings.max_duration_ms = 4 * max(
            budget.max_ms, budget.min_ms
        )  # a net under a model that turns slow
    else:
        settings.scenario = loadgen.TestScenario.Offline
        # the one query must outlast min_duration: its size is the larger of two needs, the rate guessed high
        rate = max(1.25e9 / expected_ns, queries * 1e3 / budget.min_ms)
        settings.offline_expected_qps = rate
    found = complaints(_run(loadgen, issue, settings, num_samples))
    failing.raise_first()
    return Load(samples_ns, found)


def serve_loadgen(
    query: Query, *, num_samples: int, rate_per_s: float, queries: int, q: float, bound_ns: int, seed: int
) -> list[int]:
    """Let `queries` arrive at random (Poisson) moments, `rate_per_s` of them on average; one thread answers.

    Returns:
        Time from arrival to answer of each query in ns, in order of arrival.

    Raises:
        MissingDependency, UnfitEnvironmentError: as in `run_loadgen`.
    """
    with needs_extra("bench"):
        import mlperf_loadgen as loadgen

    def complete(identity: int) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(identity, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.server_target_qps = rate_per_s
    settings.server_target_latency_ns = bound_ns
    settings.server_target_latency_percentile = q
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    settings.schedule_rng_seed = settings.sample_index_rng_seed = seed

    def issue(asked: list[Any]) -> None:
        for one in asked:
            serving.arrive(one.index, identity=one.id)

    with Serving(query, done=complete) as serving:
        _run(loadgen, issue, settings, num_samples)
    return serving.samples_ns


def complaints(summary: str) -> list[str]:
    """Return the reasons of an INVALID LoadGen summary, empty for a valid one.

    The early-stopping line is left out: it asks whether one run alone carries LoadGen's target percentile,
    while ours are licensed by the samples of all blocks together.

    Raises:
        ValueError: the text holds no verdict.
    """
    fields = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in summary.splitlines())
    }
    if "Result is" not in fields:
        raise ValueError(f"LoadGen's summary holds no verdict; it reads: {summary[:200]!r}")
    checks = ("Min duration satisfied", "Min queries satisfied")
    found = [f"LoadGen: {check.lower()}: no" for check in checks if fields.get(check, "").lower() == "no"]
    early = fields.get("Early stopping satisfied", "").lower() == "no"
    if fields["Result is"] == "INVALID" and not found and not early:
        return ["LoadGen: INVALID"]
    return found


def _run(loadgen: Any, issue: Callable[[list[Any]], object], settings: Any, num_samples: int) -> str:
    """Run a test; return LoadGen's summary."""
    settings.mode = loadgen.TestMode.PerformanceOnly
    logs = loadgen.LogSettings()
    logs.enable_trace = False
    logs.log_output.copy_summary_to_stdout = False
    with writing(Path("temporary files")):
        scratch = tempfile.TemporaryDirectory(prefix="compactor-load-")
    with scratch as folder:
        logs.log_output.outdir = folder
        system = loadgen.ConstructSUT(issue, lambda: None)
        samples = loadgen.ConstructQSL(num_samples, num_samples, lambda _: None, lambda _: None)
        try:
            loadgen.StartTestWithLogSettings(system, samples, settings, logs, "")
        finally:
            loadgen.DestroyQSL(samples)
            loadgen.DestroySUT(system)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    if not summary:  # LoadGen does not say that it could not write
        raise UnfitEnvironmentError(
            f"{folder}: LoadGen could write no summary; make room, or set $TMPDIR to where there is some"
        )
    return summary
