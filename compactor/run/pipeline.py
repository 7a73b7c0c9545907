"""Run a recipe from teachers to bundle: plan, train every stage, then finish the last stage's student."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compactor.evaluation import split_labels
from compactor.progress import Reporter, SilentReporter
from compactor.recipe import LoadedRecipe, to_yaml
from compactor.run.finish import Finish
from compactor.run.folder import RunFolders, link_stage, only_one
from compactor.run.journal import Journal
from compactor.run.plan import Plan, make_plan
from compactor.run.stages import STUDENT, train_stage
from compactor.tasks import task_named
from compactor.trainer.processes import is_main_process
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError, InterruptedRun, UsageError
from compactor_runtimes.report import Report


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, the bundle, the report and where it lies."""

    folder: Path
    bundle: Path
    report: Report
    report_file: Path

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "folder": str(self.folder),
            "bundle": str(self.bundle),
            "report_file": str(self.report_file),
            "report": msgspec.to_builtins(self.report),
        }


def run_recipe(loaded: LoadedRecipe, *, runs: Path, reporter: Reporter | None = None) -> RunResult | None:
    """Run a recipe; finished stages are reused, an interrupted one goes on.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        reporter: where progress goes.

    Returns:
        The result; None in a process of torchrun other than the first, which only trains.

    Raises:
        CompactorError: its exit code says what kind of failure; what was computed before it is kept.
    """
    main = is_main_process()
    reporter = (reporter if main else None) or SilentReporter()
    plan = make_plan(loaded, runs, reporter=reporter)
    plan.require_runnable()
    task = task_named(loaded.recipe.task)
    data = task.open(loaded.recipe.stage_data(loaded.recipe.stages[-1]), base=loaded.base)
    for split in (data.select, data.report):
        if not (split_labels(task, split) >= 0).any():
            raise UsageError(
                f"data: the {split.name} split has no labels, and nothing can be judged "
                "without; label some rows"
            )
    folders = RunFolders(plan.root)
    run = folders.new_run() if main else plan.root
    journal = Journal(run / "journal.jsonl" if main else None)
    if main:
        (run / "recipe.yaml").write_text(to_yaml(loaded.recipe), encoding="utf-8")
        journal.write(
            "start",
            command=loaded.command(runs),
            plan=msgspec.to_builtins(plan.steps),
            environment=describe(),
        )
    try:
        done = _train(loaded, plan, folders, run, reporter, journal)
        if not main:
            return None
        finish = Finish(loaded, plan, run, data, done, reporter, journal)
        bundle, report, report_file = finish.ship()
    except (InterruptedRun, KeyboardInterrupt) as stopped:
        said = str(stopped) or "stopped after training, finished stages kept"
        journal.write("interrupted", message=said)
        raise InterruptedRun(f"{said}; go on with: {loaded.command(runs)}") from None
    except CompactorError as error:
        journal.write("failed", error=type(error).__name__, message=str(error), exit_code=error.exit_code)
        raise
    folders.point_latest(run)
    journal.write("done", bundle=str(bundle))
    return RunResult(run, bundle, report, report_file)


def _train(
    loaded: LoadedRecipe, plan: Plan, folders: RunFolders, run: Path, reporter: Reporter, journal: Journal
) -> dict[str, Path]:
    done: dict[str, Path] = {}
    actions = {step.id: step.action for step in plan.steps if step.kind == "train"}
    for stage in loaded.recipe.stages:
        digest = plan.digests[stage.id]
        folder = folders.stage(stage.id, digest)
        if actions[stage.id] == "reuse":
            done[stage.id] = folder / STUDENT
            reporter.note(f"{stage.id}: reused")
        else:
            with only_one(folder) if is_main_process() else nullcontext():
                done[stage.id] = train_stage(
                    loaded, stage, folder, digest=digest, done=done, reporter=reporter, journal=journal
                )
        if is_main_process():
            link_stage(run, stage.id, folder)
    return done
