"""Workers that are watched: errors end the work, deaths do not, and what is stopped goes on."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from compactor.cache.claims import claimed, progress_of
from compactor.launch import drive as module
from compactor.launch.drive import WorkerError, drive
from compactor.launch.order import STOP, Order, Outcome, outcome_file
from compactor.launch.status import work_below
from compactor.launch.where import Where
from compactor.progress import SilentReporter
from compactor_runtimes.errors import InterruptedRun, UsageError

HERE = Where("local", 2, 1)


class Threads:
    """A launcher of the tests: workers are processes that were forked, which do what the test says."""

    act: Callable[[Order, str], Outcome | None]

    def __init__(self, order_file: Path, where: Where) -> None:
        self.order = msgspec.json.decode(order_file.read_bytes(), type=Order)
        self.processes: dict[str, int] = {}

    def start(self, names: list[str]) -> None:
        for name in names:
            child = os.fork()
            if not child:
                outcome = type(self).act(self.order, name)
                if outcome is not None:
                    outcome_file(self.order.place, name).write_bytes(msgspec.json.encode(outcome))
                os._exit(0)
            self.processes[name] = child

    def is_alive(self, name: str) -> bool:
        child = self.processes[name]
        if child and os.waitpid(child, os.WNOHANG) != (0, 0):
            self.processes[name] = 0
        return bool(self.processes[name])

    def end(self) -> None:
        for name, child in self.processes.items():
            if self.is_alive(name):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "PATIENCE_S", 2.0)
    monkeypatch.setitem(module.LAUNCHERS, "local", f"{__name__}:Threads")


def order_of(folder: Path, count: int = 4) -> tuple[Order, dict[int, Path]]:
    order = Order(kind="stages", folder=str(folder), runs=str(folder), recipes=[], threads=1, items=[])
    return order, {number: folder / f"{number}.json" for number in range(count)}


def finish(order: Order, count: int = 4) -> None:
    """Make all files that are missing and not another's."""
    folder = Path(order.folder)
    for number in claimed(folder, {number: folder / f"{number}.json" for number in range(count)}):
        (folder / f"{number}.json").write_text("made")


def run(
    act: Callable[[Order, str], Outcome | None], order: Order, files: dict[int, Path], **more: float
) -> None:
    Threads.act = staticmethod(act)  # type: ignore[assignment]
    drive(order, HERE, files, title="work", reporter=SilentReporter(), **more)


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_its_item_is_taken_over(tmp_path: Path) -> None:
    def act(order: Order, name: str) -> Outcome | None:
        if name in ("worker-1", "worker-2"):
            for _ in claimed(Path(order.folder), {0: Path(order.folder) / "0.json"}):
                os._exit(9)  # in the middle of an item
        finish(order)
        return Outcome(0)

    order, files = order_of(tmp_path)
    run(act, order, files)
    assert all(file.read_text() == "made" for file in files.values())
    found = progress_of(tmp_path, files)
    assert sorted(found.done) == [0, 1, 2, 3]
    assert sorted(found.seconds) == [0, 1, 2, 3]


@pytest.mark.slow
def test_deaths_without_anything_finished_end_the_work_and_name_the_item(tmp_path: Path) -> None:
    def act(order: Order, name: str) -> Outcome | None:
        for _ in claimed(Path(order.folder), {2: Path(order.folder) / "2.json"}):
            os._exit(9)
        return None

    order, files = order_of(tmp_path)
    with pytest.raises(
        WorkerError, match=r"3 workers died .*they were at 2\.json.*give the same command"
    ) as told:
        run(act, order, files)
    assert told.value.exit_code == 6


@pytest.mark.slow
def test_a_users_error_ends_the_work_with_its_own_exit_code(tmp_path: Path) -> None:
    def act(order: Order, name: str) -> Outcome | None:
        if name == "worker-2":
            return Outcome(UsageError.exit_code, "recipe stages.0.lr: got -1, expected > 0")
        while not (order.place / STOP).exists():
            time.sleep(0.01)
        return Outcome(130, "stopped")

    order, files = order_of(tmp_path)
    with pytest.raises(WorkerError, match=r"worker-2: recipe stages\.0\.lr: got -1") as told:
        run(act, order, files)
    assert told.value.exit_code == 2
    [work] = work_below_stub(tmp_path)
    assert work == {"worker-2": "recipe stages.0.lr: got -1, expected > 0", "worker-1": "stopped"}


def work_below_stub(folder: Path) -> list[dict[str, str]]:
    """Failures as `compactor status` reads them."""
    return [one.failed for one in work_below(folder)]


@pytest.mark.slow
def test_stopped_it_asks_the_workers_to_stop_and_goes_on_later(tmp_path: Path) -> None:
    def act(order: Order, name: str) -> Outcome | None:
        for number in claimed(Path(order.folder), {0: Path(order.folder) / "0.json"}):
            (Path(order.folder) / f"{number}.json").write_text("made")
        while not (order.place / STOP).exists():
            time.sleep(0.01)
        return Outcome(130, "stopped")

    order, files = order_of(tmp_path)
    with pytest.raises(InterruptedRun, match="stopped by --max-hours, finished items are kept"):
        run(act, order, files, deadline_s=time.monotonic() + 0.3)
    assert files[0].exists()
    run(lambda order, name: (finish(order), Outcome(0))[1], order, files)
    assert all(file.is_file() for file in files.values())
