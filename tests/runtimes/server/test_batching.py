"""What is asked at the same time shares a batch; nobody waits for what he did not ask."""

import asyncio
import threading
import time

import pytest

from compactor_runtimes.errors import (
    InputError,
    IntegrityError,
    QueueFullError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)
from compactor_runtimes.server.batching import Batcher


class Doubles:
    """Answers 2 * n, refuses negative numbers and fails on 13; can be held up."""

    def __init__(self):
        self.batches, self.free, self.begun = [], threading.Event(), threading.Event()
        self.free.set()

    def predict(self, inputs, *, on_error):
        assert on_error == "return"
        self.batches.append(list(inputs))
        self.begun.set()
        assert self.free.wait(10)
        if 13 in inputs:
            raise IntegrityError("thirteen")
        return [InputError(i, f"{n} is below 0") if n < 0 else 2 * n for i, n in enumerate(inputs)]

    def hold(self):
        self.free.clear()
        self.begun.clear()


@pytest.fixture
def model():
    made = Doubles()
    yield made
    made.free.set()


def held(model, batcher):
    """Ask for 0, whose batch is then computed until `model.free` is set."""
    model.hold()
    first = batcher.submit(0)
    assert model.begun.wait(10)
    return first


def test_what_gathers_during_a_batch_is_the_next_one_in_parts_of_the_largest(model):
    with Batcher(model, max_batch=3) as batcher:
        first = held(model, batcher)
        rest = [batcher.submit(n) for n in range(1, 6)]
        assert batcher.waiting == 5
        model.free.set()
        assert [one.result(10) for one in [first, *rest]] == [0, 2, 4, 6, 8, 10]
    assert model.batches == [[0], [1, 2, 3], [4, 5]]


def test_a_lone_client_never_waits_for_others(model):
    with Batcher(model, max_delay_s=5) as batcher:
        started = time.monotonic()
        assert [batcher.submit(n).result(10) for n in range(12)] == [2 * n for n in range(12)]
        assert time.monotonic() - started < 2
    assert [len(batch) for batch in model.batches] == [1] * 12


def test_after_a_batch_of_three_it_waits_for_three_at_most_the_delay(model):
    with Batcher(model, max_delay_s=0.3) as batcher:
        held(model, batcher)
        three = [batcher.submit(n) for n in (1, 2, 3)]
        model.free.set()
        assert [one.result(10) for one in three] == [2, 4, 6]
        started = time.monotonic()
        assert batcher.submit(4).result(10) == 8  # alone now, which is learned once
        waited = time.monotonic() - started
        assert 0.25 < waited < 2
        assert batcher.submit(5).result(10) == 10
        assert time.monotonic() - started - waited < 0.2


def test_three_that_come_again_share_a_batch_without_the_whole_delay(model):
    with Batcher(model, max_delay_s=5) as batcher:
        held(model, batcher)
        three = [batcher.submit(n) for n in (1, 2, 3)]
        model.free.set()
        assert [one.result(10) for one in three] == [2, 4, 6]
        started = time.monotonic()
        again = [batcher.submit(n) for n in (4, 5, 6)]
        assert [one.result(10) for one in again] == [8, 10, 12]
        assert time.monotonic() - started < 2
    assert model.batches[-1] == [4, 5, 6]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(model):
    with Batcher(model, queue=2) as batcher:
        held(model, batcher)
        batcher.submit(1)
        last = batcher.submit(2)
        with pytest.raises(QueueFullError, match="queue: 2 inputs wait, at most 2 expected"):
            batcher.submit(3)
        assert last.cancel()  # whoever left makes room
        assert batcher.submit(4) is not None
        model.free.set()
    assert model.batches == [[0], [1, 4]]


def test_the_cancelled_are_dropped_and_the_late_are_told(model):
    with Batcher(model) as batcher:
        held(model, batcher)
        gone, late, good = batcher.submit(1), batcher.submit(2, seconds=0.001), batcher.submit(3, seconds=60)
        assert gone.cancel()
        time.sleep(0.01)
        model.free.set()
        with pytest.raises(TimeLimitError, match="its turn did not come"):
            late.result(10)
        assert good.result(10) == 6
    assert model.batches == [[0], [3]]


def test_a_bad_input_is_its_own_callers_a_failure_everybodys(model):
    with Batcher(model) as batcher:
        held(model, batcher)
        good, bad = batcher.submit(1), batcher.submit(-1)
        model.free.set()
        assert good.result(10) == 2
        with pytest.raises(InputError, match="-1 is below 0"):
            bad.result(10)
        held(model, batcher)
        failed = [batcher.submit(n) for n in (1, 13)]
        model.free.set()
        for one in failed:
            with pytest.raises(IntegrityError, match="thirteen"):
                one.result(10)
        assert batcher.submit(7).result(10) == 14  # and it goes on


def test_a_model_that_answers_too_few_is_found_out():
    class Short:
        def predict(self, inputs, *, on_error):
            return []

    with Batcher(Short()) as batcher, pytest.raises(IntegrityError, match="0 answers to a batch of 1"):
        batcher.submit(1).result(10)


def test_an_event_loop_asks_the_same_and_is_woken_once_a_batch(model):
    async def asked(batcher):
        loop = asyncio.get_running_loop()
        woken, real = [], loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *given: woken.append(given) or real(*given)
        model.hold()
        first = asyncio.create_task(batcher.answer(0))
        while not model.begun.is_set():
            await asyncio.sleep(0.001)
        many = asyncio.create_task(batcher.answer_all([1, -2, 3]))
        gone = asyncio.create_task(batcher.answer(5))
        bad = asyncio.create_task(batcher.answer(-1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.free.set()
        assert await first == 0
        one, two, three = await many
        assert (one, two.index, two.reason, three) == (2, 1, "-2 is below 0", 6)
        with pytest.raises(UsageError, match="^-1 is below 0"):
            await bad
        assert len(woken) == 2
        assert gone.cancelled()

    with Batcher(model) as batcher:
        asyncio.run(asked(batcher))
    assert model.batches == [[0], [1, -2, 3, -1]]


def test_several_are_taken_together_or_not_at_all(model):
    async def asked(batcher):
        with pytest.raises(UsageError, match="inputs: 4 found, at most 3 expected at once"):
            await batcher.answer_all([1, 2, 3, 4])
        held(model, batcher)
        waits = batcher.submit(9)
        with pytest.raises(QueueFullError):
            await batcher.answer_all([1, 2, 3])
        model.free.set()
        assert waits.result(10) == 18

    with Batcher(model, queue=3) as batcher:
        asyncio.run(asked(batcher))


@pytest.mark.parametrize("drain", [True, False])
def test_closing_answers_what_waits_or_refuses_it(model, drain):
    batcher = Batcher(model)
    first = held(model, batcher)
    waits = batcher.submit(1)
    assert not batcher.close(drain=drain, seconds=0.01)  # the first is still computed
    with pytest.raises(UnavailableError, match="closing"):
        batcher.submit(2)
    model.free.set()
    assert batcher.close(seconds=10)
    assert first.result(10) == 0
    if drain:
        assert waits.result(10) == 2
    else:
        with pytest.raises(UnavailableError):
            waits.result(10)


def test_numbers_are_checked(model):
    for wrong in ({"max_batch": 0}, {"queue": 0}, {"max_delay_s": -1}, {"max_delay_s": float("nan")}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Batcher(model, **wrong)


def test_each_batch_is_told(model):
    seen = []
    with Batcher(model, observe=seen.append) as batcher:
        batcher.submit(1).result(10)
    (batch,) = seen
    assert batch.size == 1
    assert 0 <= batch.seconds < 5
    assert 0 <= batch.waited_s < 5


def test_the_thread_is_woken_once_as_many_wait_as_it_waits_for(model, monkeypatch):
    with Batcher(model, max_delay_s=5) as batcher:
        held(model, batcher)
        three = [batcher.submit(n) for n in (1, 2, 3)]
        model.free.set()
        assert [one.result(10) for one in three] == [2, 4, 6]
        woken = []
        notify = batcher._changed.notify
        monkeypatch.setattr(
            batcher._changed, "notify", lambda n=1: (woken.append(batcher.waiting), notify(n))
        )
        again = [batcher.submit(4)]  # wakes it, and it waits for two more
        until = time.monotonic() + 10
        while batcher._wanted != 3 and time.monotonic() < until:
            time.sleep(0.001)
        again += [batcher.submit(n) for n in (5, 6)]
        assert [one.result(10) for one in again] == [8, 10, 12]
        assert woken[:2] == [1, 3]  # closing wakes it too
