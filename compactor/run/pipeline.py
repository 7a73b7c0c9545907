"""Run a recipe from teachers to bundle: plan, train every stage, then release the last stage's student."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.folder import RunFolders, link_stage
from compactor.cache.journal import Journal
from compactor.evaluation import split_labels
from compactor.progress import Reporter, SilentReporter
from compactor.recipe.load import LoadedRecipe, to_yaml
from compactor.release.release import release
from compactor.run.data import DataSets
from compactor.run.finished import release_job
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor.run.stages import StageRunner
from compactor.run.traced import try_export
from compactor.run.workers import Workers
from compactor.tasks import task_named
from compactor.trainer.processes import is_main_process
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError, InterruptedRun, UsageError
from compactor_runtimes.files import write_whole
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


def run_recipe(
    loaded: LoadedRecipe,
    *,
    runs: Path,
    reporter: Reporter | None = None,
    deadline_s: float | None = None,
    trace: bool = True,
    workers: Workers | None = None,
) -> RunResult | None:
    """Run a recipe; finished stages are reused, an interrupted one goes on.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        reporter: where progress goes.
        deadline_s: time of `time.monotonic()` at which the run stops where it can go on later.
        trace: whether to try first if the student can be exported.
        workers: label and train ahead of this process.

    Returns:
        The result; None in a process of torchrun other than the first, which only trains.

    Raises:
        CompactorError: its exit code says what kind of failure; what was computed before it is kept.
    """
    main = is_main_process()
    reporter = (reporter if main else None) or SilentReporter()
    command, journal = loaded.command(runs), Journal(None)
    where = "while reading data, nothing was trained"
    try:
        plan = make_plan(loaded, runs, data=DataSets(loaded, reporter))
        plan.require_runnable()
        _require_judged(plan)
        if main and trace:
            try_export(plan, reporter)
        folders = RunFolders(plan.root)
        run = folders.new_run() if main else plan.root
        if main:
            journal = _start(plan, run, command)
        where = "after a finished stage"
        runner = StageRunner(plan, reporter, journal, deadline_s)
        for note in plan.notes:
            runner.say(note)
        if workers is not None:
            workers.train([plan])
        _train(plan, runner, run if main else None)
        if not main:
            return None
        where = "after training, finished stages kept"
        _heed(deadline_s)
        released = release(release_job(plan, runner, run, journal))
    except (InterruptedRun, KeyboardInterrupt) as stopped:
        said = str(stopped) or f"stopped {where}"
        journal.write("interrupted", message=said)
        raise InterruptedRun(f"{said}; go on with: {command}") from None
    except CompactorError as error:
        journal.write("failed", error=type(error).__name__, message=str(error), exit_code=error.exit_code)
        raise
    folders.point_latest(run)
    journal.write("done", bundle=str(released.bundle))
    assert released.report is not None  # a run always has data to report on
    assert released.report_file is not None
    return RunResult(run, released.bundle, released.report, released.report_file)


def _train(plan: Plan, runner: StageRunner, run: Path | None) -> None:
    """Train or reuse all stages, and show them in the run's folder, where there is one."""
    for stage in plan.stages:
        runner.run(stage)
        if run is not None:
            link_stage(run, stage.id, stage.folder)
            if stage.labels is not None:
                link_stage(run, stage.id, stage.labels.folder, kind="labels")


def _require_judged(plan: Plan) -> None:
    """Refuse early what can never be judged: no labels on select or report, and no teacher either.

    Raises:
        UsageError: says what is missing.
    """
    if plan.judges:
        return
    assert plan.data is not None  # the plan was runnable
    task = task_named(plan.loaded.recipe.task)
    for split in (plan.data.select, plan.data.report):
        if not (split_labels(task, split) >= 0).any():
            raise UsageError(
                f"data: the {split.name} split has no labels and the recipe no teachers, so nothing can be "
                "judged; label some rows or name a teacher"
            )


def _start(plan: Plan, run: Path, command: str) -> Journal:
    """Write the resolved recipe and open the journal."""
    write_whole(run / "recipe.yaml", to_yaml(plan.loaded.recipe).encode())
    journal = Journal(run / "journal.jsonl")
    journal.write("start", command=command, plan=msgspec.to_builtins(plan.steps), environment=describe())
    return journal


def _heed(deadline_s: float | None) -> None:
    """Stop between training and measuring when the time is up.

    Raises:
        InterruptedRun: it is.
    """
    if deadline_s is not None and time.monotonic() >= deadline_s:
        raise InterruptedRun("stopped by --max-hours after training, finished stages kept")
