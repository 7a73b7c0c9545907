"""The command line in this process leaves the process as it was."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compactor import doctor
from tests.command_line import compactor


def test_what_a_command_changes_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil() -> None:
        assert Path.cwd() == tmp_path
        assert os.environ["GIVEN"] == "1"
        assert sys.argv == ["compactor", "doctor"]
        os.environ["LEFT"] = "1"
        sys.path.append("/left")
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(5)
        torch.set_num_threads(3)
        raise RuntimeError("our bug")

    def state() -> tuple[object, ...]:
        numbers = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return (
            *numbers,
            dict(os.environ),
            list(sys.path),
            list(sys.argv),
            Path.cwd(),
            torch.get_num_threads(),
        )

    monkeypatch.setattr(doctor, "examine", spoil)
    before, streams = state(), (sys.stdout, sys.stderr)
    with pytest.raises(RuntimeError, match="our bug"):
        compactor("doctor", cwd=tmp_path, env={"GIVEN": "1"})
    assert state() == before
    assert (sys.stdout, sys.stderr) == streams
