"""Make the label stores of a recipe without training its students."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compactor.cache.journal import Journal
from compactor.progress import Reporter, SilentReporter
from compactor.recipe.load import LoadedRecipe
from compactor.run.behind import stages_behind
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor.run.workers import Workers
from compactor.trainer.processes import is_main_process
from compactor_runtimes.errors import InterruptedRun, UsageError
from compactor_runtimes.units import scaled


@dataclass(frozen=True)
class MadeLabels:
    """A stage's label store: how many records it has or will have, and its size once it is whole."""

    stage: str
    folder: Path
    records: int
    size_bytes: int | None

    @property
    def is_whole(self) -> bool:
        """Whether no share is missing."""
        return self.size_bytes is not None

    def text(self) -> str:
        """One line for the terminal."""
        if self.size_bytes is None:
            return f"store: {self.folder} ({self.records:,} records in all; other shares are still missing)"
        size = f"{scaled(self.size_bytes, 'B')}, {self.size_bytes / self.records:.1f} bytes each"
        return f"store: {self.folder} ({self.records:,} records, {size})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "stage": self.stage,
            "folder": str(self.folder),
            "records": self.records,
            "size_bytes": self.size_bytes,
            "whole": self.is_whole,
        }


def label_recipe(
    loaded: LoadedRecipe,
    *,
    runs: Path,
    stage_id: str | None = None,
    share: tuple[int, int] = (1, 1),
    reporter: Reporter | None = None,
    deadline_s: float | None = None,
    workers: Workers | None = None,
) -> list[MadeLabels]:
    """Make the label stores of a recipe's stages, or of one of them; train the teachers that are stages.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        stage_id: only the labels of this stage.
        share: (i, n) to make the i-th of n shares only.
        reporter: where progress goes.
        deadline_s: time of `time.monotonic()` at which it stops where it can go on later.
        workers: label ahead of this process.

    Raises:
        UsageError: no such stage, or none that has labels.
        InterruptedRun: stopped; what is finished is kept.
    """
    recipe = loaded.recipe
    if not any(stage.labels and stage_id in (None, stage.id) for stage in recipe.stages):
        have = ", ".join(stage.id for stage in recipe.stages if stage.labels) or "none"
        raise UsageError(
            f"recipe {loaded.name}: "
            + (f"stage {stage_id!r} has no labels" if stage_id else "no stage has labels")
            + f" (stages with labels: {have}); add labels: {{crops: 16}} to a stage of method fkd or kd"
        )
    reporter = (reporter if is_main_process() else None) or SilentReporter()
    try:
        plan = make_plan(loaded, runs, data=DataSets(loaded, reporter))
        plan.require_runnable()
        runner = StageRunner(plan, reporter, Journal(None), deadline_s, workers=workers)
        for note in plan.notes:
            runner.say(note)
        made = []
        for stage in plan.stages:
            if stage.labels is None or stage_id not in (None, stage.id):
                continue
            behind = {one.id for one in stages_behind(recipe, stage.teachers)}
            for teacher in plan.stages:
                if teacher.id in behind and teacher.id not in runner.done:
                    runner.run(teacher)
            store = runner.labels(stage, share)
            records = stage.labels.records if store is None else store.records
            size = None if store is None else store.size_bytes
            made.append(MadeLabels(stage.id, stage.labels.folder, records, size))
    except (InterruptedRun, KeyboardInterrupt) as stopped:
        said = str(stopped) or "stopped, what is finished is kept"
        raise InterruptedRun(f"{said}; go on with: {loaded.command(runs, verb='label')}") from None
    return made
