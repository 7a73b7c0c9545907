"""Torchdistill's KD beside ours, for suite `methods`: each in a process of its own, with a live teacher."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.method_arms import ARMS, training_recipe
from compactor.progress import SilentReporter

TIMED = ("torchdistill_kd", "ours_kd")  # in turn, block by block
WHOLE = "torchdistill_kd_whole"  # to the end, for its accuracy
PEERS = (*TIMED, WHOLE)
TIMED_STEPS = 300
SKIPPED = 20  # of a process's first steps, which set memory up


def run_peer(name: str, rate: float) -> dict[str, Any]:
    """Time one of TIMED, or train WHOLE."""
    if name == "ours_kd":
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(rate)], capture_output=True, text=True, check=True
        )
        return _timed(json.loads(done.stdout.splitlines()[-1]))
    from benchmarks.method_arms import BATCH, STEPS, TEACHER
    from benchmarks.peers.torchdistill_kd import distilled
    from compactor.locate import locate
    from compactor.run.data import DataSets

    loaded, whole = _recipe(rate), name == WHOLE
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    train, report = (
        (split.inputs[split.rows], split.labels["label"][split.rows]) for split in (data.train, data.report)
    )
    found = distilled(
        train,
        report,
        teacher=locate(TEACHER["weights"], loaded.base, what="weights of torchdistill's teacher"),
        lr=rate,
        batch=BATCH,
        steps=STEPS if whole else TIMED_STEPS,
    )
    return _timed(found["step_s"]) | ({"report_right": found["right"]} if whole else {})


def _timed(seconds: list[float]) -> dict[str, Any]:
    return {"step_s": median(seconds[SKIPPED:]), "steps": len(seconds)}


def _recipe(rate: float) -> Any:
    """KD with the teacher beside the student, as torchdistill has it."""
    return training_recipe(replace(ARMS["kd"], taught="live"), rate, 0)


def main() -> None:
    """Train by KD for TIMED_STEPS steps and print the seconds of each."""
    from benchmarks.arms import CACHE
    from compactor.cache.journal import Journal
    from compactor.run.plan import make_plan
    from compactor.run.stages import StageRunner

    seconds: list[float] = []
    last = [0.0]

    def watch(step: int, student: Any, loss: Any) -> None:
        now = time.perf_counter()
        seconds.append(now - last[0])
        last[0] = now
        if step == TIMED_STEPS:
            raise _EnoughError

    plan = make_plan(_recipe(float(sys.argv[1])), CACHE / "methods")
    [stage] = plan.stages
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(_EnoughError):
        StageRunner(plan, SilentReporter(), Journal(None), watch=watch).run(
            replace(stage, folder=Path(scratch))
        )
    sys.stdout.write(json.dumps(seconds) + "\n")


class _EnoughError(Exception):
    """All steps that are timed are done."""


if __name__ == "__main__":
    main()
