"""The command line in this process: what a user's `compactor ...` answers, without a fresh interpreter each.

A real process is for what only a process shows: signals, limits, imports, and its exit code
(tests/e2e/test_exit_codes.py).
"""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
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
