"""Fixtures of several folders: a finished run of the digits recipe, made once on the command line."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LESS = ("measure.profile=smoke", "stages.0.epochs=9", "stages.1.epochs=9", "stages.2.epochs=20")
DIGITS = ("digits", *(word for one in LESS for word in ("--set", one)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, keep together what shares something slow to make: the digits run, or a file."""
    for item in items:
        shares_run = "digits_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("digits_run" if shares_run else str(item.path)))


@dataclass(frozen=True)
class Finished:
    """A run of the digits recipe: working folder, what the command printed, and where things lie."""

    cwd: Path
    stdout: str
    stderr: str

    @property
    def run(self) -> Path:
        return (self.cwd / "runs" / "digits" / "latest").resolve()

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"


def compactor(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process."""
    return subprocess.run(
        [sys.executable, "-m", "compactor", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The shipped recipe with fewer epochs and a short measurement."""
    cwd = tmp_path_factory.mktemp("digits")
    done = compactor("run", *DIGITS, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return Finished(cwd, done.stdout, done.stderr)
