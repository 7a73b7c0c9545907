"""`compactor pool ...`: choose unlabelled images that the teachers know well, and look at what was chosen."""

import time
from pathlib import Path

import click

from compactor.cli.output_options import JSON, QUIET
from compactor.cli.recipe_options import on_option, recipe_options, share_of, workers_of


@click.group("pool")
def command() -> None:
    """Choose unlabelled images to train on, or look at what was chosen.

    A pool is what `compactor pool build` makes: runs/NAME/pool/pool.json, which recipes name in data.also.
    """


@command.command("build")
@recipe_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the pool lies. Default: RUNS/NAME/pool.",
)
@click.option(
    "--share",
    default="1/1",
    metavar="I/N",
    show_default=True,
    help="Score the I-th of N shares, for machines without a common folder; then join their folders.",
)
@click.option(
    "--max-hours", type=click.FloatRange(min=0, min_open=True), help="Stop after that time; resumable."
)
@on_option
@JSON
@QUIET
def build(
    recipe: str,
    overrides: tuple[str, ...],
    runs: Path,
    out: Path | None,
    share: str,
    max_hours: float | None,
    on: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Let the teachers choose images of RECIPE's part `pool`: score, remove copies, take the best.

    \b
    pool:
      sources: [{dataset: photos/}]         folders, tables, or a named data set; labels are not read
      take: {by: score, top: 4000}          of each class

    Teachers that are stages of the recipe are trained first. Near-duplicates of select and report images are
    always removed, and each is listed with what it is a copy of. Killed at any moment, the same command goes
    on where it was; several of them at once share the work. Another `take` uses the same scores again.

    \b
    compactor pool build my.yaml
    compactor pool build my.yaml --set pool.take.top=400
    compactor pool inspect runs/NAME/pool
    compactor run my.yaml                   with data: {also: [{dataset: runs/NAME/pool/pool.json}]}
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, progress_reporter
    from compactor.recipe.load import load_recipe
    from compactor_runtimes.errors import needs_extra

    deadline_s = None if max_hours is None else time.monotonic() + 3600 * max_hours
    loaded, part = load_recipe(recipe, overrides), share_of(share)
    with needs_extra("train"):
        from compactor.pool.build import build_pool
    reporter = progress_reporter(quiet=quiet)
    workers = workers_of(on, runs, reporter, deadline_s)
    built = build_pool(
        loaded,
        runs=runs,
        out=out,
        share=part,
        reporter=reporter,
        deadline_s=deadline_s,
        score_ahead=None if workers is None else workers.score,
    )
    if as_json:
        emit_json(built.to_json())
        return
    click.echo(built.text())
    if built.record is not None:
        click.echo(f"next:  compactor pool inspect {built.file.parent}")


@command.command("inspect")
@click.argument("pool", type=click.Path(path_type=Path))
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw classes and confidences: FILE.png or FILE.svg.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show images that were taken, and removed ones beside what they are copies of: FILE.png.",
)
@JSON
@QUIET
def inspect(pool: Path, plot: Path | None, sheet: Path | None, as_json: bool, quiet: bool) -> None:
    """Show what became of the candidates of POOL, its classes, and how sure the teachers were.

    POOL is the folder that holds pool.json, or that file. All hashes are checked first; no teacher runs and
    nothing is changed. The sheet reads the images again, where they were when the pool was built.

    \b
    compactor pool inspect runs/NAME/pool
    compactor pool inspect runs/NAME/pool --plot classes.png --sheet images.png
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, progress_reporter, result_console
    from compactor_runtimes.errors import needs_extra

    reporter = progress_reporter(quiet=quiet)
    with needs_extra("train"):
        from compactor.pool.inspect import inspect_pool
        from compactor.pool.inspect_terminal import render_pool
    found = inspect_pool(pool, reporter=reporter)
    drawn = {}
    if plot is not None:
        from compactor.pool.plot import plot_pool

        plot_pool(found, plot)
        drawn["plot"] = str(plot)
    if sheet is not None:
        from compactor.pool.sheet import draw_sheet

        draw_sheet(found, sheet, reporter=reporter)
        drawn["sheet"] = str(sheet)
    if as_json:
        emit_json(found.to_json() | drawn)
        return
    result_console().print(render_pool(found))
    for name, path in drawn.items():
        click.echo(f"{name}: {path}")
