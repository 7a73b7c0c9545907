"""One input that waits for its turn, and how results reach whoever asked: a thread or an event loop."""

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any


class Waiting:
    """An input with the future of its answer; of an event loop where there is one, else of a thread.

    Attributes:
        came: when it was asked, in seconds of `monotonic`.
    """

    __slots__ = ("came", "future", "loop", "raw", "until")

    def __init__(self, raw: Any, future: Any, loop: AbstractEventLoop | None, seconds: float | None) -> None:
        """Note when it came; `seconds` is what it may wait for its turn, None any time."""
        self.raw, self.future, self.loop = raw, future, loop
        self.came = monotonic()
        self.until = None if seconds is None else self.came + seconds

    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return bool(self.future.cancelled())

    def is_late(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.until is not None and now >= self.until

    def begin(self) -> bool:
        """Take it up; False where it was cancelled. A thread's can no longer be cancelled afterwards."""
        if self.loop is not None:
            return not self.gone()
        return bool(self.future.set_running_or_notify_cancel())


Result = tuple[Waiting, Any]
"""What waited, and its answer or the exception to raise."""


def settle(results: Sequence[Result]) -> None:
    """Hand results over, with one call for each event loop among them."""
    by_loop: dict[AbstractEventLoop, list[Result]] = {}
    for one, found in results:
        if one.loop is None:
            _resolve(one.future, found)
        else:
            by_loop.setdefault(one.loop, []).append((one, found))
    for loop, part in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, so that nobody is there
            loop.call_soon_threadsafe(_resolve_all, part)


def _resolve_all(results: list[Result]) -> None:
    for one, found in results:
        if not one.future.done():
            _resolve(one.future, found)


def _resolve(future: Any, found: Any) -> None:
    if isinstance(found, BaseException):
        future.set_exception(found)
    else:
        future.set_result(found)
