"""`compactor run RECIPE`, or `compactor run --teacher T --student S --data D` without one."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compactor.cli.output_options import QUIET
from compactor.cli.recipe_options import on_option, trace_option, workers_of

if TYPE_CHECKING:
    from compactor.recipe.load import LoadedRecipe
    from compactor.run.pipeline import RunResult
    from compactor.run.seeds import SeedsRun


@click.command("run")
@click.argument("recipe", required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. stages.0.epochs=3."
)
@click.option("--teacher", help="Without RECIPE: the teacher, e.g. cifar:resnet56@WEIGHTS, or - for none.")
@click.option("--student", help="Without RECIPE: the student, e.g. cifar:resnet8.")
@click.option("--data", help="Without RECIPE: an image folder, a table, or a named data set.")
@click.option("--task", help="Without RECIPE: the task, where the data do not tell.")
@click.option("--seeds", metavar="0,1,2", help="Run once for each seed and aggregate.")
@click.option("--smoke", is_flag=True, help="Take every step on a handful of samples, in under a minute.")
@click.option(
    "--max-hours", type=click.FloatRange(min=0, min_open=True), help="Stop after that time; resumable."
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of all runs.",
)
@on_option
@trace_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@QUIET
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    teacher: str | None,
    student: str | None,
    data: str | None,
    task: str | None,
    seeds: str | None,
    smoke: bool,
    max_hours: float | None,
    runs: Path,
    on: str | None,
    trace: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train, distil, export, verify, measure and pack: from teachers to a bundle.

    RECIPE is a shipped name (see `compactor recipes`) or a YAML file. Without one, --teacher, --student and
    --data are enough: the recipe that `compactor init` would write is kept in the runs folder. Before
    anything is trained, a student of random weights is exported once, to see that it can be. Finished
    stages are reused when nothing that decides their result has changed; an interrupted one goes on where
    it was.

    \b
    compactor run digits
    compactor run my.yaml --set stages.0.epochs=3 --seeds 0,1,2
    compactor run my.yaml --seeds 0,1,2 --on local:2   two trainings at once; measured one after the other
    compactor run my.yaml --smoke
    compactor run --teacher timm:resnet50@pretrained --student timm:mobilenetv3_small_100 --data photos/
    torchrun --nproc-per-node 2 -m compactor run my.yaml
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import progress_reporter
    from compactor.recipe import load as recipes
    from compactor_runtimes.errors import needs_extra

    reporter = progress_reporter(quiet=quiet)
    deadline_s = None if max_hours is None else time.monotonic() + 3600 * max_hours
    if recipe is None:
        if not (student and data):
            raise click.UsageError(
                "give RECIPE, or --teacher, --student and --data (see compactor run --help)"
            )
        recipe = propose_into(runs, teacher or "-", student, data, task, reporter)
    elif teacher or student or data or task:
        raise click.UsageError("give RECIPE, or --teacher, --student and --data, not both")
    loaded = recipes.load_recipe(recipe, overrides)
    with needs_extra("train"):
        from compactor.run.pipeline import run_recipe
        from compactor.run.seeds import parse_seeds, run_seeds
        from compactor.trainer.processes import end_processes
    common: dict[str, Any] = {"runs": runs, "reporter": reporter, "deadline_s": deadline_s, "trace": trace}
    common["workers"] = workers_of(on, runs, reporter, deadline_s)
    if seeds is not None:
        prepare = recipes.smoke if smoke else lambda one: one
        several = run_seeds(recipe, overrides, parse_seeds(seeds), prepare=prepare, **common)
        end_processes()
        if several is not None:
            _print_seeds(several, as_json)
            require_ready(several.best)
        return
    loaded = recipes.smoke(loaded) if smoke else loaded
    result = run_recipe(loaded, **common)
    end_processes()
    if result is None:  # a process of torchrun other than the first
        return
    print_result(result, loaded, as_json)
    require_ready(result)


def print_result(result: "RunResult", loaded: "LoadedRecipe", as_json: bool) -> None:
    """Print a finished run: its report, where things lie, and what to do next."""
    from compactor.cli import emit_json, result_console

    if as_json:
        emit_json(result.to_json())
        return
    from compactor.records import reads_images
    from compactor_runtimes.report import render_terminal

    result_console().print(render_terminal(result.report))
    click.echo(f"bundle: {result.bundle}\nreport: {result.report_file}")
    if loaded.at_most:
        click.echo("smoke run: every step works; none of the figures means anything")
    raw = "IMAGE.png" if reads_images(loaded.recipe.task) else "'SOME TEXT'"
    click.echo(f"next:   compactor predict {result.bundle} {raw}")


def require_ready(result: "RunResult") -> None:
    """End with the accuracy gate's exit code where the report says: not yet.

    Raises:
        AccuracyGateError: it does; what was made is kept.
    """
    from compactor_runtimes.errors import AccuracyGateError
    from compactor_runtimes.report import is_ready

    if is_ready(result.report):
        return
    failed = "; ".join(f"{gate.name}: {gate.detail}" for gate in result.report.gates if not gate.passed)
    raise AccuracyGateError(f"not ready to ship: {failed}; the bundle is kept in {result.bundle}")


def propose_into(
    runs: Path,
    teacher: str,
    student: str,
    data: str,
    task: str | None,
    reporter: Any,
    *,
    training: bool = True,
    **wishes: Any,
) -> str:
    """Write the recipe for a teacher, a student and data into the runs folder; return its path.

    `wishes` are further arguments of `propose`.
    """
    from compactor.propose import propose
    from compactor_runtimes.files import write_whole

    proposal = propose(teacher, student, data, task=task, training=training, **wishes)
    path = runs / proposal.name / "recipe.yaml"
    write_whole(path, proposal.yaml.encode())
    for note in proposal.notes:
        reporter.note(note)
    reporter.note(f"recipe: {path}")
    return str(path)


def _print_seeds(run: "SeedsRun", as_json: bool) -> None:
    import msgspec
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.report import is_ready

    if as_json:
        emit_json({"folder": str(run.folder), **msgspec.to_builtins(run.result)})
        return
    found = run.result
    table = Table(title=f"{found.recipe}: seeds {', '.join(map(str, found.seeds))}", title_justify="left")
    for heading in ("subject", "metric", "mean", "range", "n"):
        table.add_column(heading, overflow="fold")
    for row in found.rows:
        low, high = min(row.values), max(row.values)
        table.add_row(
            row.subject,
            row.metric,
            f"{100 * row.mean:.2f}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{row.n:,}",
        )
    result_console().print(table)
    for step in found.steps:
        verdict = "inside the noise" if step.verdict == "noise" else step.verdict
        click.echo(
            f"{step.step}: {step.a} -> {step.b}: {step.difference_points:+.2f} points "
            f"[{step.low:+.2f}, {step.high:+.2f}], n {step.n:,}, {len(found.seeds)} seeds averaged: {verdict}"
        )
    bundle = os.path.normpath(run.folder / found.bundle)
    what = "ship seed" if is_ready(run.best.report) else "not yet, but seed"
    click.echo(f"{what} {found.best_seed}, the best by {found.best_by} on select: {bundle}")
    click.echo(f"seeds:  {run.folder}")
