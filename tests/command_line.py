"""The command line in this process: what a user's `compactor ...` answers, without a fresh interpreter each.

A real process is for what only a process shows: signals, limits, imports, and its exit code
(tests/e2e/test_exit_codes.py).
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    returncode: int
    stdout: str
    stderr: str


def compactor(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Answer:
    """Run `compactor ARGUMENTS` in `cwd` with `env` on top of the environment; our bug is raised."""
    from compactor.cli import main

    with (
        state_kept(),
        chdir(cwd),
        patch.dict(os.environ, env or {}),
        patch.object(sys, "argv", ["compactor", *arguments]),
        patch.object(sys.modules["__main__"], "__package__", None),  # or click calls us `python -m pytest...`
        CliRunner().isolation() as (stdout, stderr, _),
    ):
        try:
            main()
            raise AssertionError("main must end with an exit code")
        except SystemExit as stop:
            code = stop.code
        sys.stdout.flush()
        sys.stderr.flush()
    assert isinstance(code, int)
    return Answer(code, stdout.getvalue().decode(), stderr.getvalue().decode())


def fresh_compactor(*arguments: str, cwd: Path, env: dict[str, str] | None = None, **options: Any) -> Answer:
    """Run the same in a fresh process; `options` are subprocess's."""
    process = start_compactor(*arguments, cwd=cwd, env=env, **options)
    try:
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    return Answer(process.returncode, stdout, stderr)


def start_compactor(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, **options: Any
) -> "subprocess.Popen[str]":
    """Start the command in a fresh process, which finds the packages where this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "compactor", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **{**pipes, **options})


@contextmanager
def state_kept() -> Iterator[None]:
    """Give back what a command changes for its process: generators of random numbers and torch's threads."""
    import numpy as np
    import torch

    python, numpy, threads, path = random.getstate(), np.random.get_state(), torch.get_num_threads(), sys.path
    sys.path = list(path)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        sys.path = path
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
