"""Turn Ctrl-C, SIGTERM and a time limit into a wish that the training loop grants after the step at hand."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopWish:
    """Whether training should stop: the user asked, or `deadline_s` (of time.monotonic) is past."""

    def __init__(self, deadline_s: float | None = None) -> None:
        """Keep the deadline."""
        self.asked, self.deadline_s = False, deadline_s

    @property
    def late(self) -> bool:
        """Whether the time limit is reached."""
        return self.deadline_s is not None and time.monotonic() >= self.deadline_s

    @property
    def requested(self) -> bool:
        """Whether to stop for either reason."""
        return self.asked or self.late


@contextmanager
def stop_on_signal(deadline_s: float | None = None) -> Iterator[StopWish]:
    """Catch the first SIGINT or SIGTERM in the block; a second SIGINT stops at once as usual."""
    wish = StopWish(deadline_s)
    if threading.current_thread() is not threading.main_thread():
        yield wish  # signals reach the main thread alone
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if wish.asked:
            raise KeyboardInterrupt
        wish.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
