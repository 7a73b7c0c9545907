"""A pool that was built once and is only read, and a copy of one's own."""

import shutil
from pathlib import Path

import pytest

from tests.compactor import pool_toys
from tests.made_once import made_once


def _built(folder: Path) -> None:
    pool_toys.make(folder)
    done = pool_toys.build(folder)
    assert done.returncode == 0, done.stderr
    (folder / "stderr.txt").write_text(done.stderr)
    (folder / "stdout.txt").write_text(done.stdout)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working folder with a recipe and its pool. Do not change it."""
    return made_once(tmp_path_factory, "pool", _built)


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """A copy of it; the pool's sources are then those of the copy."""
    return Path(shutil.copytree(built, tmp_path / "own"))


@pytest.fixture
def unbuilt(own: Path) -> Path:
    """The same without a pool."""
    shutil.rmtree(own / "runs")
    return own
