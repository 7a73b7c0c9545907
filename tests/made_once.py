"""What is slow to make is made once for all workers of a test session, and lies on disk."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Folder `name` of this session, filled by `make` in the worker that asks first; the others wait.

    Tests only read it: one that changes something copies it before.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own in the session's
    folder, made = root / "made-once" / name, root / "made-once" / f"{name}.made"
    made.parent.mkdir(exist_ok=True)
    with made.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.stat().st_size:
            shutil.rmtree(folder, ignore_errors=True)  # of a maker that failed
            folder.mkdir()
            make(folder)
            lock.write("whole\n")
    return folder
