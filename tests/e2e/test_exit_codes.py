"""Each exit code once, of a real process: what a shell sees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import compactor, fresh_compactor

# a command that ends as told
ENDS = """
import sys
from compactor import cli, doctor
from compactor_runtimes import errors
def examine():
    raise {error}
doctor.examine = examine
sys.argv = ["compactor", "doctor"]
cli.main()
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("ZeroDivisionError('our bug')", 1, "Traceback"),
        ("errors.UsageError('a')", 2, "error: a\n"),
        ("errors.NumericGateError('b')", 3, "error: b\n"),
        ("errors.AccuracyGateError('c')", 4, "error: c\n"),
        ("errors.PerformanceGateError('d')", 5, "error: d\n"),
        ("errors.UnfitEnvironmentError('e')", 6, "error: e\n"),
        ("errors.IntegrityError('f')", 7, "error: f\n"),
        ("errors.InterruptedRun('g')", 130, "error: g\n"),
        ("KeyboardInterrupt", 130, "\ninterrupted\n"),
    ],
)
def test_an_error_ends_the_process_with_its_code(error: str, code: int, said: str) -> None:
    ending = [sys.executable, "-c", ENDS.format(error=error)]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(ending, capture_output=True, text=True, env=places)
    assert done.returncode == code
    assert done.stderr == said if code > 1 else done.stderr.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["recipes"], 0), (["--version"], 0), (["rnu"], 2), (["schema", "--no-such"], 2), (["verify", "."], 7)],
)
def test_a_process_answers_as_the_command_line_in_this_one(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    real, here = (way(*arguments, cwd=tmp_path) for way in (fresh_compactor, compactor))
    assert real.returncode == here.returncode == code
    assert real.stdout == here.stdout
    assert real.stderr.replace("python -m compactor", "compactor") == here.stderr
