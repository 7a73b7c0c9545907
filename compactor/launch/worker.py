"""A worker: does what is missing of an order and nobody else is doing, then says how it ended.

    python -m compactor.launch.worker ORDER NAME [CPU,CPU...]

1. It stops after the batch or step at hand when the order's folder says so, and when its parent has gone.
2. What it finished is kept; what it was at is taken over by another one.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from compactor.launch.order import STOP, Order, Outcome, note_device, outcome_file, read_order
from compactor_runtimes.errors import CompactorError
from compactor_runtimes.files import write_whole

WATCH_S = 0.5


def work(order_file: str, name: str, *, parent: int | None = None) -> None:
    """Run an order to its end, and write the outcome beside it; never raises for what a user can mend.

    Args:
        order_file: of the order.
        name: of this worker.
        parent: the process whose end is also a wish to stop; absent where another one may begin it.
    """
    import torch

    path = Path(order_file)
    order = read_order(path)
    torch.set_num_threads(order.threads)
    note_device(order.place)
    try:
        with _stopped_with(order, parent):
            {"labels": _label, "scores": _score, "stages": _train}[order.kind](order, path)
        outcome = Outcome(0)
    except CompactorError as error:
        outcome = Outcome(error.exit_code, str(error))
    except KeyboardInterrupt:
        outcome = Outcome(130, "interrupted")
    except Exception as error:  # our bug, told where the driver can see it
        traceback.print_exc()
        outcome = Outcome(1, f"{type(error).__name__}: {error}")
    write_whole(outcome_file(order.place, name), msgspec.json.encode(outcome))


def _label(order: Order, path: Path) -> None:
    from compactor.run.label import label_recipe

    label_recipe(order.recipes[0].read(), runs=Path(order.runs), stage_id=order.stage)


def _score(order: Order, path: Path) -> None:
    from compactor.pool.build import build_pool

    out = None if order.out is None else Path(order.out)
    build_pool(order.recipes[0].read(), runs=Path(order.runs), out=out, only_scores=True)


def _train(order: Order, path: Path) -> None:
    """Train stages that do not build on each other, each in the order's number of processes."""
    from compactor.cache.claims import claimed
    from compactor.launch.stage_process import train_in_processes
    from compactor.launch.train_item import train_item

    for number in claimed(Path(order.folder), order.files()):
        if order.processes == 1:
            train_item(order, number)
        else:
            train_in_processes(order, number, path)


@contextmanager
def _stopped_with(order: Order, parent: int | None) -> Iterator[None]:
    """Rule 1: what the folder or the parent's end asks for reaches this process as SIGTERM."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_S):
            if (order.place / STOP).exists() or (parent is not None and os.getppid() != parent):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def main() -> None:
    """Be a local worker."""
    order_file, name, *cpus = sys.argv[1:]
    if cpus:
        os.sched_setaffinity(0, {int(one) for one in cpus[0].split(",")})
    work(order_file, name, parent=os.getppid())


if __name__ == "__main__":
    main()
