"""Start workers on an order, watch them, and start again those that died, until the work is done.

1. A worker that ends with a user's error ends the work: the others are asked to stop, its error is raised.
2. One that dies is started again, unless MOST_DEATHS come without anything being finished between them.
3. Stopped, all workers are asked to stop after the batch at hand; what is finished is kept.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from compactor.cache.claims import progress_of
from compactor.launch import LAUNCHERS, Launcher
from compactor.launch.order import DIED, OK, Order, read_outcome, wish_to_stop
from compactor.launch.where import Where
from compactor.progress import Bar, Reporter
from compactor.trainer.interrupt import stop_on_signal
from compactor_runtimes.errors import CompactorError, InterruptedRun
from compactor_runtimes.tables import lookup

POLL_S = 0.5
PATIENCE_S = 30.0  # for the batch at hand
MOST_DEATHS = 3
INTERRUPTED = 130


class WorkerError(CompactorError):
    """What ended a worker, with the exit code that its command would have had."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the code."""
        super().__init__(message)
        self.exit_code = exit_code


def drive(
    order: Order,
    where: Where,
    files: Mapping[int, Path],
    *,
    title: str,
    reporter: Reporter,
    deadline_s: float | None = None,
) -> None:
    """Have an order done.

    Args:
        order: what to do.
        where: the launcher and the workers.
        files: what appears when an item is finished, by its number.
        title: of the progress bar.
        reporter: where progress goes.
        deadline_s: time of `time.monotonic()` at which it stops as if the user had asked.

    Raises:
        InterruptedRun: the user or the deadline stopped it.
        WorkerError: a worker failed, or too many died.
    """
    order_file = order.write()
    for path in order.place.glob("worker-*.json"):  # how those of an earlier command ended
        path.unlink()
    launcher: Launcher = lookup(LAUNCHERS, where.launcher, "launcher")(order_file, where)
    crew = _Crew(order, launcher, files)
    told = f"{title}: {crew.missing:,} of {len(files):,} items on {where.text}"
    reporter.note(f"{told}; `compactor status {order.folder}` shows how far it is")
    with stop_on_signal(deadline_s) as wish, reporter.bar(title, len(files)) as bar:
        try:
            crew.start([f"worker-{number}" for number in range(1, where.workers + 1)])
            while crew.alive:
                time.sleep(POLL_S)
                crew.look(bar)
                if wish.requested:
                    why = " by --max-hours" if wish.late else ""
                    raise InterruptedRun(f"{title}: stopped{why}, finished items are kept")
        finally:
            crew.dismiss()


class _Crew:
    """The workers of an order: `alive` by name, and how many died since something was finished."""

    def __init__(self, order: Order, launcher: Launcher, files: Mapping[int, Path]) -> None:
        self.order, self.launcher, self.files = order, launcher, files
        self.alive: set[str] = set()
        self.deaths = self.started = 0
        self.missing = sum(not file.is_file() for file in files.values())

    def start(self, names: list[str]) -> None:
        self.launcher.start(names)
        self.alive |= set(names)
        self.started += len(names)

    def look(self, bar: Bar) -> None:
        """See what was finished and who ended."""
        missing = sum(not file.is_file() for file in self.files.values())
        if missing < self.missing:
            self.missing, self.deaths = missing, 0
        bar.at(len(self.files) - missing, f"{len(self.alive)} workers")
        for name in sorted(self.alive):
            if not self.launcher.is_alive(name):
                self.alive.remove(name)
                self._ended(name)

    def _ended(self, name: str) -> None:
        outcome = read_outcome(self.order.place, name)
        if outcome.code == OK:
            return
        if outcome.code not in (DIED, INTERRUPTED):
            raise WorkerError(f"{name}: {outcome.said}", outcome.code)
        self.deaths += 1
        if self.deaths >= MOST_DEATHS:
            found = progress_of(Path(self.order.folder), self.files)
            begun = sorted(found.left | found.running)  # another worker may just be at the same
            at = ", ".join(self.files[number].name for number in begun) or "nothing"
            raise WorkerError(
                f"{self.order.kind}: {self.deaths} workers died one after another and nothing was finished "
                f"between them (they were at {at}); see {self.order.place}/*.log, then give the same command "
                "again, finished items are kept",
                6,
            )
        self.start([f"worker-{self.started + 1}"])

    def dismiss(self) -> None:
        """Ask those who live to stop, wait for the batch at hand, and end them."""
        if self.alive:
            wish_to_stop(self.order.place)
            until_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < until_s and any(map(self.launcher.is_alive, self.alive)):
                time.sleep(POLL_S)
        self.launcher.end()
