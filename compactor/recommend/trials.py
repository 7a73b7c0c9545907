"""Train one setting for some steps, as the last stage of the recipe, with the report split sealed."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from compactor.cache.folder import DONE
from compactor.cache.journal import Journal
from compactor.data.splits import Dataset
from compactor.progress import Reporter, SilentReporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import StageSpec
from compactor.recommend.candidates import Trial
from compactor.records import GAMMA
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.planned import Plan, PlannedStage
from compactor.run.stages import StageRunner
from compactor.run.workers import Workers
from compactor.trainer.fit import Watch

BY_EPOCH = ("step", "cosine-epochs")  # schedules that mean nothing where an epoch may not end


class Sealed:
    """Stands for what must not be read: whoever touches it has made a mistake of ours."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise AssertionError("the report split is sealed while settings are chosen")

    __getattr__ = __getitem__ = __iter__ = __len__ = __array__ = __contains__ = _refuse


def sealed(data: Dataset) -> Dataset:
    """The same data with a report split that cannot be read: no input and no label of it."""
    nothing: Any = Sealed()
    return replace(data, report=replace(data.report, inputs=nothing, labels=nothing))


def with_setting(loaded: LoadedRecipe, trial: Trial) -> LoadedRecipe:
    """The recipe with a setting in the place of its last stage, in full length.

    A label store is made of the training samples alone: what teachers say of report samples is none of a
    choice's business.
    """
    recipe = loaded.recipe
    stage = trial.stage(recipe.stages[-1])
    if stage.labels is not None and stage.labels.store is None:
        stage = msgspec.structs.replace(stage, labels=msgspec.structs.replace(stage.labels, evaluation=False))
    changed = msgspec.structs.replace(recipe, stages=[*recipe.stages[:-1], stage])
    return msgspec.structs.replace(loaded, recipe=changed)


def shortened(stage: StageSpec, steps: int, *, full_steps: int, seed: int | None = None) -> StageSpec:
    """The stage for `steps` steps: its whole schedule, warm-up included, in that time.

    Schedules that count epochs become a cosine, and a rule that stops early is left out.
    """
    return msgspec.structs.replace(
        stage,
        epochs=None,
        steps=steps,
        warmup_epochs=stage.warmup_epochs * min(steps / full_steps, 1.0),
        schedule="cosine" if stage.schedule in BY_EPOCH else stage.schedule,
        milestones=[],
        gamma=GAMMA,
        stop=None,
        seed=stage.seed if seed is None else seed,
    )


@dataclass
class Workbench:
    """The recipe whose last stage varies, its opened data, and the stages before it, trained once."""

    loaded: LoadedRecipe
    runs: Path
    data: DataSets
    full_steps: int
    reporter: Reporter
    journal: Journal
    done: dict[str, Path] = field(default_factory=dict)
    trained: int = 0
    reused: int = 0
    workers: Workers | None = None

    def plan(self, trial: Trial, steps: int, seed: int | None) -> Plan:
        """Plan the recipe with a setting in the place of its last stage, for some steps."""
        changed = with_setting(self.loaded, trial)
        *before, last = changed.recipe.stages
        stages = [*before, shortened(last, steps, full_steps=self.full_steps, seed=seed)]
        recipe = msgspec.structs.replace(changed.recipe, stages=stages)
        return make_plan(msgspec.structs.replace(changed, recipe=recipe), self.runs, data=self.data)

    def before(self, plan: Plan) -> None:
        """Train the stages before the last one, in full, as a run would and for a run to reuse.

        Raises:
            InterruptedRun: stopped; the checkpoint is kept.
        """
        plan.require_stages()
        runner = StageRunner(plan, self.reporter, self.journal, done=self.done)
        for note in plan.notes:
            runner.say(note)
        for stage in plan.stages[:-1]:
            # a store that the recipe wants of report samples too is made for the run; nobody reads these here
            runner.run(stage if stage.labels is not None else replace(stage, data=sealed(stage.data)))

    def label(self, plan: Plan) -> None:
        """Make the label store of the plan's last stage, if it has one that is missing.

        Raises:
            InterruptedRun: stopped; finished shards are kept.
        """
        stage = _last(plan)
        if stage.labels is not None and not stage.labels.is_made and not (stage.folder / DONE).is_file():
            StageRunner(plan, self.reporter, self.journal, done=dict(self.done), workers=self.workers).labels(
                stage
            )

    def train(self, plan: Plan, watch: Watch) -> PlannedStage:
        """Train the plan's last stage, or reuse it.

        Raises:
            InterruptedRun: stopped; the checkpoint is kept.
            Diverged: the setting does not train.
        """
        stage = _last(plan)
        if (stage.folder / DONE).is_file():
            self.reused += 1
            return stage
        runner = StageRunner(plan, SilentReporter(), self.journal, watch=watch, done=dict(self.done))
        runner.run(stage)
        self.trained += 1
        return stage


def _last(plan: Plan) -> PlannedStage:
    plan.require_stages()
    stage = plan.stages[-1]
    return replace(stage, data=sealed(stage.data))
