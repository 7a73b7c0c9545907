"""Turn Ctrl-C and SIGTERM into a wish that the training loop grants after the step at hand."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopWish:
    """Whether the user asked to stop."""

    requested = False


@contextmanager
def stop_on_signal() -> Iterator[StopWish]:
    """Catch the first SIGINT or SIGTERM in the block; a second SIGINT stops at once as usual."""
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish  # signals reach the main thread alone
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if wish.requested:
            raise KeyboardInterrupt
        wish.requested = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
