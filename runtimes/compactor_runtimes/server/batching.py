"""Many callers, one model: what they ask at the same time is answered in one batch, by one thread.

1. One thread calls the model; a batch is what has gathered while the one before was computed.
2. It waits for more only where the batch before was larger than what has gathered, and at most `max_delay_s`
   after the oldest one came: a client that is alone never waits.
3. What was cancelled before its turn, or is past its own deadline, costs nothing.
4. Results go back to an event loop by one call a batch; waking a loop once per answer would cost more. Nor is
   the thread woken before as many wait as it waits for.
"""

from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from compactor_runtimes.errors import (
    InputError,
    IntegrityError,
    QueueFullError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)
from compactor_runtimes.server.waiting import Waiting, settle


class Predicts(Protocol):
    """What a batcher calls: with "return" an InputError stands in the place of an answer."""

    def predict(self, inputs: list[Any], *, on_error: Any) -> Any:
        """One answer an input."""


class Batch(NamedTuple):
    """What happened to one batch: how many, how long the model took, how long the oldest had waited."""

    size: int
    seconds: float
    waited_s: float


class Batcher:
    """Gathers what threads and event loops ask of one model. A context manager."""

    def __init__(
        self,
        model: Predicts,
        max_batch: int = 32,
        max_delay_s: float = 0.002,
        queue: int = 256,
        *,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """Start the thread.

        Args:
            model: `predict` of it is called by that thread alone.
            max_batch: most inputs of one call, 1 or more.
            max_delay_s: longest wait for more, in seconds; 0 never waits.
            queue: most inputs that wait, 1 or more.
            observe: is told of each batch, in the thread.

        Raises:
            UsageError: a number out of its range.
        """
        for name, value in (("max_batch", max_batch), ("queue", queue)):
            if value < 1:
                raise UsageError(f"{name}: got {value}, expected 1 or more")
        if not 0 <= max_delay_s < float("inf"):
            raise UsageError(f"max_delay_s: got {max_delay_s}, expected 0 or more seconds")
        self._model, self._observe = model, observe
        self._max_batch, self._max_delay_s, self._queue = max_batch, max_delay_s, queue
        self._waiting: deque[Waiting] = deque()
        self._changed = Condition()
        self._closing = False
        self._before = 1
        self._wanted = 1
        self._thread = Thread(target=self._work, name="compactor-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many inputs wait, without those in the batch that is computed."""
        return len(self._waiting)

    def submit(self, raw: Any, seconds: float | None = None) -> "Future[Any]":
        """Ask from a thread; the future gives the answer, or raises as `answer` does.

        Args:
            raw: see `Model.predict`.
            seconds: what it may wait for its turn; None = any time.

        Raises:
            QueueFullError: too many wait.
            UnavailableError: it was closed.
        """
        future: Future[Any] = Future()
        self._put([Waiting(raw, future, None, seconds)])
        return future

    async def answer(self, raw: Any, seconds: float | None = None) -> Any:
        """Ask from an event loop.

        Raises:
            UsageError: the input cannot be used; others in the same batch are answered.
            QueueFullError: too many wait.
            UnavailableError: it was closed.
            TimeLimitError: its turn did not come within `seconds`.
            CompactorError: what the model raised for the whole batch.
        """
        (found,) = await self.answer_all([raw], seconds)
        if isinstance(found, InputError):
            raise UsageError(found.reason)
        return found

    async def answer_all(self, raws: Sequence[Any], seconds: float | None = None) -> list[Any]:
        """Ask for several at once from an event loop, of which all are taken or none.

        Returns:
            one answer an input, an InputError with its place for one that cannot be used.

        Raises:
            QueueFullError, UnavailableError, TimeLimitError, CompactorError: as in `answer`.
        """
        loop: AbstractEventLoop = get_running_loop()
        asked = [Waiting(raw, loop.create_future(), loop, seconds) for raw in raws]
        self._put(asked)
        answers: list[Any] = []
        try:
            for index, one in enumerate(asked):
                try:
                    answers.append(await one.future)
                except InputError as error:
                    answers.append(InputError(index, error.reason))
        finally:  # the client left, or one failed: nobody waits for the rest
            for one in asked:
                if not one.future.cancel() and not one.future.cancelled():
                    one.future.exception()  # or the loop would say that nobody looked at it
        return answers

    def close(self, drain: bool = True, seconds: float | None = None) -> bool:
        """Take nothing more; a second call only waits.

        Args:
            drain: answer what waits; False lets it fail with UnavailableError.
            seconds: longest wait for that; None = until it is done.

        Returns:
            whether all was done in time.
        """
        left: list[Waiting] = []
        with self._changed:
            self._closing = True
            if not drain:
                left = list(self._waiting)
                self._waiting.clear()
            self._changed.notify_all()
        settle([(one, closing()) for one in left if one.begin()])
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        """Return the batcher itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer what waits, and end the thread."""
        self.close()

    def _put(self, asked: list[Waiting]) -> None:
        """Take all or none."""
        if len(asked) > self._queue:
            raise UsageError(
                f"inputs: {len(asked):,} found, at most {self._queue:,} expected at once; send them in parts"
            )
        with self._changed:
            if self._closing:
                raise closing()
            if len(self._waiting) + len(asked) > self._queue:  # rule 3: the gone make room
                self._waiting = deque(one for one in self._waiting if not one.gone())
            if len(self._waiting) + len(asked) > self._queue:
                raise QueueFullError(
                    f"queue: {len(self._waiting):,} inputs wait, at most {self._queue:,} expected; ask again "
                    "a little later"
                )
            self._waiting.extend(asked)
            if len(self._waiting) >= self._wanted:
                self._changed.notify()

    def _work(self) -> None:
        """Rule 1, until it is closed and nothing waits."""
        while batch := self._next():
            now = monotonic()
            ready: list[Waiting] = []
            late: list[Waiting] = []
            for one in batch:
                if one.begin():
                    (late if one.is_late(now) else ready).append(one)
            settle([(one, _too_late()) for one in late])
            if ready:
                self._answer(ready, now)

    def _next(self) -> list[Waiting]:
        """Rule 2: the next batch; none when it is over."""
        with self._changed:
            self._wanted = 1
            while not self._waiting and not self._closing:
                self._changed.wait()
            if self._waiting and not self._closing:
                until = self._waiting[0].came + self._max_delay_s
                self._wanted = min(self._before, self._max_batch)
                while len(self._waiting) < self._wanted and not self._closing:
                    left = until - monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
            size = min(len(self._waiting), self._max_batch)
            return [self._waiting.popleft() for _ in range(size)]

    def _answer(self, batch: list[Waiting], now: float) -> None:
        """Ask the model; a failure of the whole is everybody's."""
        self._before = len(batch)
        try:
            found = self._model.predict([one.raw for one in batch], on_error="return")
            if len(found) != len(batch):
                raise IntegrityError(f"model: {len(found)} answers to a batch of {len(batch)}")
        except Exception as error:  # whatever it is, somebody waits for it
            found = [error] * len(batch)
        settle(list(zip(batch, found, strict=True)))
        self._observe(Batch(len(batch), monotonic() - now, now - batch[0].came))


def closing() -> UnavailableError:
    """The error of what is asked too late."""
    return UnavailableError("server: is closing, nothing more is taken; ask another one")


def _too_late() -> TimeLimitError:
    return TimeLimitError("queue: its turn did not come within the time that it was given; ask again")
