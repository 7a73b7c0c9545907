"""What workers share is made by one of them, whole, or not at all."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.made_once import made_once


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Of a session in `tmp_path` that has two workers, of which this is one."""
    (tmp_path / "gw0").mkdir()
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return SimpleNamespace(getbasetemp=lambda: tmp_path / "gw0")


def test_whoever_asks_second_waits_and_gets_the_same_folder(factory: SimpleNamespace, tmp_path: Path) -> None:
    made, found = [], []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.1)
        (folder / "whole").touch()

    def ask() -> None:
        folder = made_once(factory, "toy", make)
        found.append((folder, (folder / "whole").exists()))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert made == [tmp_path / "made-once" / "toy"]
    assert found == [(made[0], True)] * 3


def test_a_maker_that_failed_leaves_nothing_for_the_next(factory: SimpleNamespace) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        made_once(factory, "toy", fail)
    folder = made_once(factory, "toy", lambda place: (place / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
