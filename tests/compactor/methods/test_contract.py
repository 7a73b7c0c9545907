"""What every method promises of a training: it can be stopped anywhere, and run on several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compactor.methods import METHODS
from compactor_runtimes.errors import InterruptedRun
from tests.compactor.methods.contract import ELSEWHERE, preset_of, stopping, train
from tests.compactor.trainer.test_fit import same, weights

HERE = [name for name in METHODS if name not in ELSEWHERE]
# what they compare within a batch they compare within a process's part of it, as docs and plan say
BY_PROCESS: set[str] = set()
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", HERE)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, name: str) -> None:
    """Bit for bit, in the middle of the second epoch."""
    whole = train(name, tmp_path / "whole")
    with pytest.raises(InterruptedRun, match="stopped at step 6 of 12"):
        train(name, tmp_path / "parts", preset=stopping(preset_of(name), 5))
    torch.manual_seed(999)  # the checkpoint, not luck, must restore the generator
    resumed = train(name, tmp_path / "parts", seed=5)
    assert same(weights(whole.student), weights(resumed.student))
    assert resumed.history == whole.history


@pytest.mark.heavy
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Torchrun with gloo, all methods in turn: 26 samples in batches of 7 (4 + 3, last 5 = 3 + 2)."""
    names = [name for name in HERE if name not in BY_PROCESS]
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *runner, "-m", "tests.compactor.methods.contract", ",".join(names), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        one = train(name, tmp_path / f"one-{name}").student
        two = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for key, value in one.state_dict().items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")
