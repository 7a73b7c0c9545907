"""How fast a pass over many images goes, when it will end, and whether it was asked to stop."""

import time
from pathlib import Path

from compactor.progress import Bar, Reporter
from compactor.trainer.interrupt import StopWish
from compactor_runtimes.errors import InterruptedRun


class Pace:
    """Say how far a pass is and how fast, after its first shard how long it will take; stop where asked."""

    def __init__(
        self, what: str, todo: int, bar: Bar, reporter: Reporter, wish: StopWish, folder: Path
    ) -> None:
        """Begin a pass called `what` over `todo` images, whose results lie in `folder`."""
        self.what, self.todo, self.bar, self.reporter = what, todo, bar, reporter
        self.wish, self.folder = wish, folder
        self.done, self.started_s, self.is_told = 0, time.perf_counter(), False

    def tick(self, count: int) -> None:
        """Note that some more images are done.

        Raises:
            InterruptedRun: the user or the deadline asked to stop.
        """
        self.done += count
        self.bar.at(self.done, f"{self._rate:,.0f} images/s")
        if self.wish.requested:
            why = " by --max-hours" if self.wish.late else ""
            raise InterruptedRun(
                f"pool {self.what} {self.folder}: stopped{why} after {self.done:,} of {self.todo:,} images, "
                "finished shards are kept"
            )

    def shard_done(self) -> None:
        """Note that a shard is on disk; the first tells how long the rest will take."""
        left = self.todo - self.done
        if not self.is_told and left > 0:
            self.is_told = True
            self.reporter.note(
                f"{self.what}: {self._rate:,.0f} images/s, {left:,} images are left: about "
                f"{span(left / self._rate)}"
            )

    @property
    def _rate(self) -> float:
        return self.done / max(time.perf_counter() - self.started_s, 1e-9)


def span(seconds: float) -> str:
    """A length of time in two digits or more."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
