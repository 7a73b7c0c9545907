"""Both drivers of load in this process: counts, durations, verdicts, and failures inside the query."""

import time

import pytest

from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.measure import load as load_module
from compactor_runtimes.measure.load import LOADGEN, OWN, driver, run_load, run_server
from compactor_runtimes.measure.loadgen import complaints
from compactor_runtimes.measure.measurement import Budget
from compactor_runtimes.measure.own_driver import run_own
from compactor_runtimes.measure.queries import settle, warm_up
from tests.full_disk import no_room

pytest.importorskip("mlperf_loadgen")


@pytest.fixture(params=[LOADGEN, OWN])
def either(request, monkeypatch):
    """The name of the driver that the test runs with."""
    if request.param == OWN:
        monkeypatch.setattr(load_module, "driver", lambda: OWN)
    return request.param


class Recorder:
    """A query of known duration that keeps the indices it was asked for."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, []

    def __call__(self, index):
        self.asked.append(index)
        time.sleep(self.seconds)


def test_single_stream_honours_count_and_duration_and_times_each_query(either):
    query = Recorder(0.002)
    begin = time.perf_counter()
    load = run_load(
        query,
        scenario="single-stream",
        num_samples=4,
        budget=Budget(min_queries=60, min_ms=20, max_ms=2000),
    )
    elapsed = time.perf_counter() - begin
    assert len(load.samples_ns) >= 60
    assert all(sample >= 2_000_000 for sample in load.samples_ns)
    assert sum(load.samples_ns) / 1e9 < elapsed
    assert load.complaints == []
    assert set(query.asked[-60:]) == {0, 1, 2, 3}


def test_single_stream_runs_for_its_minimum_duration(either):
    load = run_load(
        Recorder(0.001),
        scenario="single-stream",
        num_samples=4,
        budget=Budget(min_queries=1, min_ms=100, max_ms=1000),
    )
    assert sum(load.samples_ns) >= 0.8 * 100_000_000
    assert load.complaints == []


def test_slow_model_gets_only_the_queries_that_fit_its_time(either):
    load = run_load(
        Recorder(0.02),
        scenario="single-stream",
        num_samples=4,
        budget=Budget(min_queries=10_000, min_ms=50, max_ms=100),
    )
    assert 3 <= len(load.samples_ns) <= 6
    assert load.complaints == []  # too few samples are judged over all blocks, not here


def test_offline_asks_in_batches_until_the_duration_is_full(either):
    query = Recorder(0.005)
    load = run_load(
        query,
        scenario="offline",
        num_samples=20,
        budget=Budget(min_queries=1, min_ms=60, max_ms=500),
    )
    assert sum(load.samples_ns) >= 60_000_000
    assert all(sample >= 5_000_000 for sample in load.samples_ns)
    assert load.complaints == []


def test_offline_honours_its_minimum_of_batches(either):
    load = run_load(
        Recorder(0.005),
        scenario="offline",
        num_samples=20,
        budget=Budget(min_queries=30, min_ms=10, max_ms=1000),
    )
    assert 30 <= len(load.samples_ns) <= 60


def test_many_runs_in_one_process_do_not_disturb_each_other(either):
    for _ in range(4):
        for scenario in ("single-stream", "offline"):
            load = run_load(
                Recorder(0.001),
                scenario=scenario,
                num_samples=4,
                budget=Budget(min_queries=5, min_ms=10, max_ms=100),
            )
            assert len(load.samples_ns) >= 5


def test_model_that_turns_slow_is_reported_by_loadgen():
    calls = 0

    def query(index):
        nonlocal calls
        calls += 1
        time.sleep(0.001 if calls < 40 else 0.05)

    load = run_load(
        query,
        scenario="single-stream",
        num_samples=4,
        budget=Budget(min_queries=100, min_ms=20, max_ms=110),
    )
    assert load.complaints == ["LoadGen: min queries satisfied: no"]


def test_failure_inside_a_query_is_raised_afterwards_and_the_next_run_works(either):
    calls = 0

    def query(index):
        nonlocal calls
        calls += 1
        if calls > 30:
            raise RuntimeError("broken")
        time.sleep(0.002)

    budget = Budget(min_queries=50, min_ms=20, max_ms=500)
    with pytest.raises(RuntimeError, match="broken"):
        run_load(query, scenario="single-stream", num_samples=4, budget=budget)
    assert run_load(Recorder(0), scenario="single-stream", num_samples=4, budget=budget).samples_ns


@pytest.mark.parametrize(("at_least_ns", "queries", "fastest_ns"), [(0, 2, 10), (25, 2, 10), (31, 3, 5)])
def test_warm_up_returns_the_fastest_of_at_least_two(monkeypatch, at_least_ns, queries, fastest_ns):
    """Queries of 20, 10, 5 and 50 ns by a clock that only they move: after two of them 30 ns are gone."""
    clock, asked, durations_ns = [0], [], (20, 10, 5, 50)

    def query(index):
        asked.append(index)
        clock[0] += durations_ns[index]

    monkeypatch.setattr("compactor_runtimes.measure.queries.perf_counter_ns", lambda: clock[0])
    assert warm_up(query, at_least_ns=at_least_ns) == fastest_ns
    assert asked == list(range(queries))


def test_the_first_block_is_warmed_up_until_three_windows_agree(monkeypatch):
    """Queries that get faster: 90, 60, 40 ms, then 40 for ever; each fills a window of 20 ms."""
    clock, asked, durations_ms = [0], [], [90, 60, 40, 40, 40, 40]

    def query(index):
        asked.append(index)
        clock[0] += durations_ms[index] * 1_000_000

    monkeypatch.setattr("compactor_runtimes.measure.queries.perf_counter_ns", lambda: clock[0])
    assert settle(query) == 40_000_000
    assert len(asked) == 5
    clock[0], asked[:] = 0, []
    assert settle(query, longest_ns=100_000_000) == 60_000_000  # never steady: it ends all the same
    assert len(asked) == 2


def test_the_driver_is_named_with_its_version():
    assert driver().startswith(f"{LOADGEN} ")


def test_our_driver_asks_each_sample_at_random_and_again_alike():
    first, second = Recorder(0), Recorder(0)
    for query in (first, second):
        run_own(query, num_samples=5, budget=Budget(min_queries=100, min_ms=0, max_ms=1000), expected_ns=1000)
    assert first.asked == second.asked
    assert set(first.asked) == set(range(5))


def served(rate_per_s, queries, seconds):
    """Latencies at a rate of arrivals of a query that takes `seconds`."""
    return run_server(
        Recorder(seconds),
        num_samples=4,
        rate_per_s=rate_per_s,
        queries=queries,
        q=0.9,
        bound_ns=10**9,
        seed=3,
    )


def test_at_a_low_rate_a_query_takes_its_own_time(either):
    found = served(rate_per_s=20, queries=12, seconds=0.002)
    assert len(found) == 12
    assert sorted(found)[5] < 8_000_000  # one waits for another now and then
    assert min(found) >= 2_000_000


def test_over_its_capacity_a_server_falls_behind_with_every_query(either):
    """100 queries a second of 20 ms each: the k-th waits for about k times 10 ms."""
    found = served(rate_per_s=100, queries=30, seconds=0.02)
    assert max(found) > 150_000_000
    assert sum(found[-5:]) > 3 * sum(found[:5])


def test_a_failure_of_a_served_query_is_raised(either):
    calls = 0

    def query(index):
        nonlocal calls
        calls += 1
        time.sleep(0.02)  # the warm-up is over after two
        if calls > 4:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_server(query, num_samples=4, rate_per_s=100, queries=5, q=0.9, bound_ns=10**9, seed=0)


@pytest.mark.parametrize(
    ("summary", "found"),
    [
        ("Result is : VALID\n  Min duration satisfied : Yes\n", []),
        (
            "Result is : INVALID\n  Min duration satisfied : NO\n  Min queries satisfied : Yes\n",
            ["LoadGen: min duration satisfied: no"],
        ),
        ("Result is : INVALID\n  Min duration satisfied : Yes\n  Early stopping satisfied: NO\n", []),
        ("Result is : INVALID\n", ["LoadGen: INVALID"]),
    ],
)
def test_verdict_of_the_summary_is_passed_on(summary, found):
    assert complaints(summary) == found


def test_summary_without_a_verdict_is_refused():
    with pytest.raises(ValueError, match="holds no verdict"):
        complaints("nothing here")


def test_no_room_for_the_files_of_loadgen_is_one_sentence():
    with pytest.raises(UnfitEnvironmentError, match=r"LoadGen could write no summary; make room"), no_room(0):
        run_load(
            Recorder(0.001),
            scenario="single-stream",
            num_samples=4,
            budget=Budget(min_queries=1, min_ms=20, max_ms=100),
        )
