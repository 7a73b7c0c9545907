"""Watch and stop the build of an engine: the product calls back; Ctrl-C and a failed callback cancel it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with a phase of the build, its steps done and all its steps; phases lie within each other."""


class Watch:
    """Whether the build is to stop, and why."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.interrupted = False
        self.failure: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """Whether nobody wants the build to stop."""
        return not self.interrupted and self.failure is None

    def raise_for_stop(self) -> None:
        """Raise what stopped the build.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            BaseException: what the progress callback raised.
        """
        if self.failure is not None:
            raise self.failure
        if self.interrupted:
            raise KeyboardInterrupt


@contextmanager
def watch_interrupts() -> Iterator[Watch]:
    """Keep Ctrl-C for the watch: an exception inside a callback would be printed and lost by the product."""
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch  # signals reach the main thread alone
        return

    def ask(number: int, frame: FrameType | None) -> None:
        watch.interrupted = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield watch
    finally:
        signal.signal(signal.SIGINT, before)


def monitor(trt: Any, watch: Watch, progress: Progress | None) -> Any:
    """Make the product's progress monitor that tells `progress` and stops the build when `watch` says so."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base class is known only now
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            self._tell(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self._tell(phase, step + 1)
            return watch.goes_on

        def phase_finish(self, phase: str) -> None:
            self._tell(phase, self._steps[phase])

        def _tell(self, phase: str, done: int) -> None:
            if progress is None or not watch.goes_on:
                return
            try:
                progress(phase, done, self._steps[phase])
            except BaseException as error:  # no exception crosses the product's C++; it is raised afterwards
                watch.failure = error

    return Monitor()
