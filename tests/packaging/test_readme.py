"""Every command and snippet of the README runs; `make` and installation lines are run by the other checks."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Finished

README = (ROOT / "README.md").read_text()
NOT_HERE = ("make ", "git ", "cd ", "pip ", "torchrun ", "export ", "#")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


@pytest.mark.heavy
def test_commands_run(own_digits_run: Finished) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for line in "".join(blocks("bash")).replace("\\\n", " ").splitlines():
        command = line.split("  #")[0].strip()
        if not command or command.startswith(NOT_HERE):
            continue
        assert shlex.split(command)[0] == "compactor", command
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=own_digits_run.cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        ran += 1
    assert ran >= 6


@pytest.mark.heavy
def test_snippets_run(own_digits_run: Finished) -> None:
    snippets = blocks("python")
    assert snippets
    for snippet in snippets:
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=own_digits_run.cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{snippet}\n{done.stderr[-2000:]}"


def test_no_path_of_a_machine_and_no_unfilled_number() -> None:
    assert not re.search(r"/(home|root|work|tmp)/", README)
    assert "TODO" not in README
