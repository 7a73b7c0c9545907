"""Generate load with MLPerf LoadGen's scenarios and time every query ourselves.

These are LoadGen scenarios, not MLPerf results. LoadGen decides when and which sample is asked; the clock
stands tightly around the query, so LoadGen's own cost (about 2 microseconds of Python callback) is not in
the samples. A LoadGen sample is one query of ours, for the offline scenario a whole batch.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra
from compactor_runtimes.files import writing
from compactor_runtimes.measure.measurement import Budget, Scenario

WARM_UP_NS = 30_000_000
WARM_UP_QUERIES = 2

Query = Callable[[int], object]
"""Answer the sample of an index; for the offline scenario the batch that starts at that index."""


class Load(NamedTuple):
    """Times of all queries in order of issue, and what LoadGen found wrong with the run."""

    samples_ns: list[int]
    complaints: list[str]


def warm_up(query: Query, *, at_least_ns: int = WARM_UP_NS) -> int:
    """Run uncounted queries (two, and for at least `at_least_ns`); return the fastest time in nanoseconds."""
    start, fastest, done = perf_counter_ns(), 0, 0
    while done < WARM_UP_QUERIES or perf_counter_ns() - start < at_least_ns:
        begin = perf_counter_ns()
        query(done)
        elapsed = max(perf_counter_ns() - begin, 1)
        fastest = min(fastest or elapsed, elapsed)
        done += 1
    return fastest


def run_load(query: Query, *, scenario: Scenario, num_samples: int, budget: Budget) -> Load:
    """Warm up, then run one LoadGen test in this process; several in turn are fine.

    Args:
        query: what is timed.
        scenario: `single-stream` asks the next sample when the last is answered; `offline` hands over all.
        num_samples: how many distinct samples there are to ask for.
        budget: queries and milliseconds of this block.

    Raises:
        MissingDependency: LoadGen is not installed.
        UnfitEnvironmentError: no room for the files of LoadGen.
    """
    with needs_extra("bench"):
        import mlperf_loadgen as loadgen

    expected_ns = warm_up(query)
    samples_ns: list[int] = []
    failures: list[BaseException] = []

    def issue(asked: list[Any]) -> None:
        for one in asked:
            if failures:
                break
            try:
                begin = perf_counter_ns()
                query(one.index)
                samples_ns.append(perf_counter_ns() - begin)
            # an exception that unwinds LoadGen's C++ frames crashes the process later: keep it for the end
            except BaseException as error:
                failures.append(error)
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(one.id, 0, 0) for one in asked])

    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = budget.min_ms
    # a slow model gets as many queries as fit, and it is the pooled count that licenses percentiles
    queries = max(1, min(budget.min_queries, budget.max_ms * 1_000_000 // expected_ns))
    if scenario == "single-stream":
        settings.scenario = loadgen.TestScenario.SingleStream
        # LoadGen prepares min_duration / this many queries and is INVALID if they run out: guess low
        settings.single_stream_expected_latency_ns = max(expected_ns // 2, 1)
        settings.min_query_count = queries
        settings.max_duration_ms = 4 * max(
            budget.max_ms, budget.min_ms
        )  # a net under a model that turns slow
    else:
        settings.scenario = loadgen.TestScenario.Offline
        # the one query must outlast min_duration: its size is the larger of two needs, the rate guessed high
        rate = max(1.25e9 / expected_ns, queries * 1e3 / budget.min_ms)
        settings.offline_expected_qps = rate
        settings.min_query_count = queries
    with writing(Path("temporary files")):
        scratch = tempfile.TemporaryDirectory(prefix="compactor-load-")
    with scratch as folder:
        _start(loadgen, issue, settings, num_samples, folder)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
        if not summary:  # LoadGen does not say that it could not write
            raise UnfitEnvironmentError(
                f"{folder}: LoadGen could write no summary; make room, or set $TMPDIR to where there is some"
            )
    if failures:
        raise failures[0]
    return Load(samples_ns, complaints(summary))


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


def _start(
    loadgen: Any, issue: Callable[[list[Any]], None], settings: Any, num_samples: int, folder: str
) -> None:
    logs = loadgen.LogSettings()
    logs.enable_trace = False
    logs.log_output.outdir = folder
    logs.log_output.copy_summary_to_stdout = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    samples = loadgen.ConstructQSL(num_samples, num_samples, lambda _: None, lambda _: None)
    try:
        loadgen.StartTestWithLogSettings(system, samples, settings, logs, "")
    finally:
        loadgen.DestroyQSL(samples)
        loadgen.DestroySUT(system)
