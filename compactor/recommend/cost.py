"""What a recommendation will cost: steps exactly, seconds from a few measured batches of each model."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from compactor.methods import method_named
from compactor.models import TEACH_ONLY
from compactor.models.build import build_model
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.recommend.candidates import Trial
from compactor.run.planned import Plan, PlannedStage
from compactor.samplers import sampler_options
from compactor.tasks import task_named
from compactor.trainer.fit import accelerator_for

LEAST_BATCHES, MOST_BATCHES, ENOUGH_S = 2, 6, 2.0  # of a model are timed, after one that is not


@dataclass(frozen=True)
class Cost:
    """What is to be trained: `trial_steps` of all rungs, `before_steps` of stages that are not trained yet.

    Seconds are None where a model cannot be timed (a `bundle:` teacher). Evaluation on select is not counted.
    Of later rungs, whose settings nobody knows yet, the mean of all settings is.
    """

    trial_steps: int
    before_steps: int
    trial_s: float | None
    before_s: float | None


@dataclass
class Pace:
    """Seconds that a sample takes here, by model: forward alone, or forward and backward; random weights."""

    loaded: LoadedRecipe
    known: dict[tuple[bytes, bool], float] = field(default_factory=dict)

    def step_s(self, trials: Sequence[Trial], own: PlannedStage) -> float | None:
        """Mean seconds of a step of the last stage over the trials; None where a teacher cannot be timed."""
        student = self.seconds(own.student, own, trains=True)
        found = []
        for trial in trials:
            method = method_named(trial.method, "recommend")
            live = method.learns_from_teachers and trial.labels is None
            teachers = self.teachers_s(own) if live else 0.0
            if teachers is None:
                return None
            found.append(method.networks * student + teachers)
        return own.spec.batch_size * sum(found) / len(found)

    def training_s(self, stage: PlannedStage) -> float | None:
        """Seconds of a stage's whole training, and of its labels."""
        labels = self.labels_s(stage)
        teachers = self.teachers_s(stage) if stage.labels is None else 0.0
        if labels is None or teachers is None:
            return None
        sample_s = self.seconds(stage.student, stage, trains=True) + teachers
        return steps_of(stage) * stage.spec.batch_size * sample_s + labels

    def labels_s(self, stage: PlannedStage) -> float | None:
        """Seconds of a label store that is missing."""
        if stage.labels is None or stage.labels.is_made:
            return 0.0
        teachers = self.teachers_s(stage)
        return None if teachers is None else stage.labels.records * teachers

    def teachers_s(self, stage: PlannedStage) -> float | None:
        """Seconds that all teachers of the recipe's stage take for a sample; None if one cannot be timed."""
        recipe = self.loaded.recipe
        trained = {f"{STAGE}{one.id}": recipe.stage_student(one) for one in recipe.stages}
        total = 0.0
        for one in recipe.stage_teachers(stage.spec):
            model = trained[one] if isinstance(one, str) else one
            if model.family in TEACH_ONLY:
                return None
            total += self.seconds(model, stage, trains=False)
        return total

    def seconds(self, model: ModelSpec, stage: PlannedStage, *, trains: bool) -> float:
        """Seconds that a model takes for a sample of the stage's data, measured once."""
        key = (msgspec.json.encode(model), trains)
        if key not in self.known:
            self.known[key] = self._measured(model, stage, trains)
        return self.known[key]

    def _measured(self, model: ModelSpec, stage: PlannedStage, trains: bool) -> float:
        import torch

        task, spec, seed = task_named(stage.task), stage.spec, self.loaded.recipe.seed
        accelerator = accelerator_for(spec.precision)
        random = msgspec.structs.replace(model, weights=None)
        network = build_model(random, stage.data.info, base=self.loaded.base, seed=seed)
        network = network.to(accelerator.device).train(trains)
        loader = task.loader(stage.data.train, spec, seed=seed, rank=0, world=1)
        order = torch.randperm(len(loader), generator=torch.Generator().manual_seed(seed)).numpy()
        batches = [batch for batch, _ in zip(loader.epoch(0, order), range(MOST_BATCHES + 1), strict=False)]
        samples, started_s = 0, 0.0
        for number, batch in enumerate([batches[0], *(batches[1:] or batches)]):
            if number == 1:  # the first one warms up
                started_s = time.perf_counter()
            with torch.set_grad_enabled(trains), accelerator.autocast():
                outputs = network(**batch.to(accelerator.device).x).values()
                loss = torch.stack([one.float().square().mean() for one in outputs]).sum()
            if trains:
                torch.autograd.backward(loss)
                network.zero_grad()
            loss.item()  # waits for the device
            samples += batch.size if number else 0
            if number >= LEAST_BATCHES and time.perf_counter() - started_s > ENOUGH_S:
                break
        return (time.perf_counter() - started_s) / samples


def before_cost(plan: Plan, pace: Pace) -> tuple[int, float | None]:
    """Steps and seconds of the stages before the last one that are not trained yet."""
    missing = [stage for stage in plan.stages[:-1] if stage.action != "reuse"]
    return sum(map(steps_of, missing)), total(pace.training_s(stage) for stage in missing)


def total(parts: Iterable[float | None]) -> float | None:
    """The sum; None where a part is not known."""
    found = list(parts)
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def steps_of(stage: PlannedStage) -> int:
    """Optimiser steps of a stage, as the training loop counts them; samplers of methods visit all samples."""
    spec, split = stage.spec, stage.data.train
    if spec.steps is not None:
        return spec.steps
    loader = task_named(stage.task).loader(split, spec, seed=0, rank=0, world=1)
    options, epochs = sampler_options(spec, f"stage {spec.id}"), spec.epochs or 0
    if options is None:
        return epochs * loader.steps(len(split))
    sampler = options.build(spec, seed=0)  # how many do not hang on it
    sampler.fit(split, None)
    return sum(loader.steps(sampler.samples(len(split), epoch)) for epoch in sampler.passes(epochs))
