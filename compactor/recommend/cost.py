"""What a recommendation will cost: steps exactly, seconds from counted FLOPs and a short measured probe."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import msgspec

from compactor.models.build import build_model
from compactor.recipe.load import LoadedRecipe
from compactor.recommend.candidates import Choice, Trial
from compactor.recommend.trials import with_setting
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.planned import PlannedStage
from compactor.sizes.training_cost import BACKWARD, StageCost, training_costs
from compactor.tasks import task_named
from compactor.trainer.fit import accelerator_for

WARM_STEPS, TIMED_STEPS = 2, 6
Counting = tuple[PlannedStage, StageCost]


@dataclass(frozen=True)
class Cost:
    """What is to be trained: `trial_steps` of all rungs, `before_steps` of stages that are not trained yet.

    Seconds are None where something counts no FLOPs (a `bundle:` teacher). Evaluation on select is not
    counted. Of later rungs, whose settings nobody knows yet, the mean of all settings is.
    """

    trial_steps: int
    before_steps: int
    trial_s: float | None
    before_s: float | None


@dataclass(frozen=True)
class Counted:
    """What was counted of a recipe: its last stage, the stages before it that are missing, and the stores.

    `by_method` is the last stage with each method, and whether it learns from a store: nothing else of a
    setting changes what a step costs.
    """

    own: Counting
    before: list[Counting]
    stores: list[StageCost]
    by_method: dict[tuple[str, bool], StageCost]

    @property
    def full_steps(self) -> int:
        """Optimiser steps of the recipe's own last stage."""
        return _steps(*self.own)

    @property
    def steps_before(self) -> int:
        """Those of the stages before it that are not trained yet."""
        return sum(_steps(*one) for one in self.before)

    @property
    def flops_before(self) -> int | None:
        """FLOPs of all of these, and of labels that are to be made."""
        found = [*(cost.total_flops for _, cost in self.before), *(one.label_flops for one in self.stores)]
        known = [one for one in found if one is not None]
        return sum(known) if len(known) == len(found) else None

    def step_seconds(self, trials: Sequence[Trial], batch_size: int, flops_per_s: float) -> float | None:
        """Mean seconds of a step over the trials; None where one is not known."""
        flops = [self.by_method[_kind(one)].training_flops for one in trials]
        known = [one for one in flops if one is not None]
        return batch_size * sum(known) / len(known) / flops_per_s if len(known) == len(flops) else None


def counted(loaded: LoadedRecipe, choice: Choice, *, runs: Path, data: DataSets) -> Counted:
    """Count every stage with every method that is tried.

    Raises:
        UsageError: a model cannot be built, or does not take the data.
        UnfitEnvironmentError: a stage cannot run here.
    """
    by_method: dict[tuple[str, bool], StageCost] = {}
    stores: dict[str, StageCost] = {}
    found: list[Counting] = []
    for trial in choice.trials:
        if _kind(trial) in by_method:
            continue
        plan = make_plan(with_setting(loaded, trial), runs, data=data)
        costs = training_costs(plan)
        found = found or list(zip(plan.stages, costs, strict=True))  # the first trial is the recipe's own
        by_method[_kind(trial)] = costs[-1]
        labels = plan.stages[-1].labels
        if labels is not None and not labels.is_made:
            stores[labels.digest] = costs[-1]
    before = [(stage, cost) for stage, cost in found[:-1] if stage.action != "reuse"]
    return Counted(found[-1], before, list(stores.values()), by_method)


def probe_flops_per_s(own: Counting, *, base: Path, seed: int) -> float:
    """FLOPs a second of a stage's student here: a few forward and backward passes on its batches."""
    import torch

    stage, cost = own
    task, spec = task_named(stage.task), stage.spec
    accelerator = accelerator_for(spec.precision)
    random = msgspec.structs.replace(stage.student, weights=None)
    student = build_model(random, stage.data.info, base=base, seed=seed).to(accelerator.device).train()
    loader = task.loader(stage.data.train, spec, seed=seed, rank=0, world=1)
    positions = torch.randperm(len(loader), generator=torch.Generator().manual_seed(seed)).numpy()
    samples, started_s, epoch, step = 0, time.perf_counter(), 0, 0
    while step < WARM_STEPS + TIMED_STEPS:
        for batch in loader.epoch(epoch, positions):
            if step == WARM_STEPS:
                samples, started_s = 0, time.perf_counter()
            inputs = batch.to(accelerator.device).x
            with accelerator.autocast():
                loss = torch.stack([one.float().square().mean() for one in student(**inputs).values()]).sum()
            torch.autograd.backward(loss)
            student.zero_grad()
            loss.item()  # waits for the device
            samples, step = samples + batch.size, step + 1
            if step == WARM_STEPS + TIMED_STEPS:
                break
        epoch += 1
    return samples * (1 + BACKWARD) * cost.student_flops / (time.perf_counter() - started_s)


def _kind(trial: Trial) -> tuple[str, bool]:
    return trial.method, trial.labels is not None


def _steps(stage: PlannedStage, cost: StageCost) -> int:
    """Optimiser steps of a stage; those of epochs from its samples."""
    return stage.spec.steps or ceil(cost.samples / stage.spec.batch_size)
