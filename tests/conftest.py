"""Fixtures of several folders: a finished run of the digits recipe, made once for all workers."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.made_once import made_once

pytest_plugins = ["tests.tiers"]

ROOT = Path(__file__).parents[1]
LESS = ("measure.profile=smoke", "stages.0.epochs=7", "stages.1.epochs=7", "stages.2.epochs=18")
DIGITS = ("digits", *(word for one in LESS for word in ("--set", one)))


@dataclass(frozen=True)
class Finished:
    """A run of the digits recipe: working folder, what the command printed, and where things lie."""

    cwd: Path
    stdout: str

    @property
    def run(self) -> Path:
        return (self.cwd / "runs" / "digits" / "latest").resolve()

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"


def run_digits(cwd: Path) -> None:
    """The shipped recipe with fewer epochs and a short measurement; what it printed lies beside `runs`."""
    from tests.command_line import compactor

    done = compactor("run", *DIGITS, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    (cwd / "stdout.txt").write_text(done.stdout)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run that tests only read; all workers share it."""
    cwd = made_once(tmp_path_factory, "digits", run_digits)
    return Finished(cwd, (cwd / "stdout.txt").read_text())


@pytest.fixture
def own_digits_run(digits_run: Finished, tmp_path: Path) -> Finished:
    """A copy of its working folder, for tests that go on from there."""
    cwd = Path(shutil.copytree(digits_run.cwd, tmp_path / "digits", symlinks=True))
    return replace(digits_run, cwd=cwd)
