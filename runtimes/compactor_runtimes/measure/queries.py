"""What every driver of load shares: the timed query, warm-up, and the thread that answers arrivals.

Nothing here decides when a query comes; `loadgen.py` and `own_driver.py` do.
"""

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from statistics import median
from threading import Thread
from time import perf_counter_ns
from types import TracebackType
from typing import NamedTuple, Self

WARM_UP_NS = 10_000_000
WARM_UP_QUERIES = 2
WINDOWS, WINDOW_NS, WINDOW_DRIFT = 3, 20_000_000, 0.05
LONGEST_SETTLING_NS = 3_000_000_000

Query = Callable[[int], object]
"""Answer the sample of an index; for the offline scenario the batch that starts at that index."""


class Load(NamedTuple):
    """Times of all queries in order of issue, and what the driver found wrong with the run."""

    samples_ns: list[int]
    complaints: list[str]


def timed(query: Query, index: int) -> int:
    """Run one query; return its time in ns."""
    begin = perf_counter_ns()
    query(index)
    return perf_counter_ns() - begin


def warm_up(query: Query, *, at_least_ns: int = WARM_UP_NS) -> int:
    """Run uncounted queries (two, and for at least `at_least_ns`); return the fastest time in nanoseconds."""
    start, fastest, done = perf_counter_ns(), 0, 0
    while done < WARM_UP_QUERIES or perf_counter_ns() - start < at_least_ns:
        elapsed = max(timed(query, done), 1)
        fastest = min(fastest or elapsed, elapsed)
        done += 1
    return fastest


def settle(query: Query, *, longest_ns: int = LONGEST_SETTLING_NS) -> int:
    """Run uncounted queries until the medians of three windows lie within 5%, or for `longest_ns`.

    Returns:
        The fastest query's time in ns. A window is a query, or 20 ms of shorter ones.
    """
    start, fastest, medians, done = perf_counter_ns(), 0, [0.0] * 0, 0
    while True:
        times: list[int] = []
        while not times or sum(times) < WINDOW_NS:
            times.append(max(timed(query, done), 1))
            done += 1
        fastest = min(fastest or times[0], *times)
        medians = [*medians, float(median(times))][-WINDOWS:]
        steady = len(medians) == WINDOWS and max(medians) <= (1 + WINDOW_DRIFT) * min(medians)
        if done >= WARM_UP_QUERIES and (steady or perf_counter_ns() - start >= longest_ns):
            return fastest


class Failing:
    """Calls that must not raise where they are called: the first error is kept, later calls are left out."""

    def __init__(self) -> None:
        """Start without an error."""
        self._error: BaseException | None = None

    def call(self, action: Callable[[], object]) -> None:
        """Call, unless a call failed before."""
        if self._error is None:
            try:
                action()
            except BaseException as error:  # it is raised again in `raise_first`
                self._error = error

    def raise_first(self) -> None:
        """Raise what was kept."""
        if self._error is not None:
            raise self._error


class Serving:
    """One thread that answers queries in order of arrival; leaving the context awaits the last."""

    def __init__(self, query: Query, *, done: Callable[[int], None] = lambda identity: None) -> None:
        """Answer with `query`; `done` is told the identity of each that was answered."""
        self.samples_ns: list[int] = []
        self._query, self._done, self._failing = query, done, Failing()
        self._waiting: SimpleQueue[tuple[int, int, int] | None] = SimpleQueue()
        self._thread = Thread(target=self._answer, daemon=True)

    def arrive(self, index: int, *, identity: int = 0, at_ns: int | None = None) -> None:
        """Queue a query that arrived at `at_ns` (of `perf_counter_ns`), None = now."""
        self._waiting.put((perf_counter_ns() if at_ns is None else at_ns, index, identity))

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer what waits, end the thread and raise what failed in it."""
        self._waiting.put(None)
        self._thread.join()
        if kind is None:
            self._failing.raise_first()

    def _answer(self) -> None:
        while (asked := self._waiting.get()) is not None:
            arrived_ns, index, identity = asked
            self._failing.call(partial(self._query, index))
            self.samples_ns.append(perf_counter_ns() - arrived_ns)
            self._done(identity)
