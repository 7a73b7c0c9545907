"""`compactor label RECIPE`: make the label stores that a recipe's stages learn from."""

import time
from pathlib import Path

import click

from compactor.cli.output_options import QUIET
from compactor.cli.recipe_options import on_option, recipe_options, share_of, workers_of


@click.command("label")
@recipe_options
@click.option(
    "--stage", "stage_id", help="Only the labels of this stage. Default: of every stage with labels."
)
@click.option(
    "--share",
    default="1/1",
    metavar="I/N",
    show_default=True,
    help="Make the I-th of N shares, for machines without a common folder; then `compactor store merge`.",
)
@click.option(
    "--max-hours", type=click.FloatRange(min=0, min_open=True), help="Stop after that time; resumable."
)
@on_option
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@QUIET
def command(
    recipe: str,
    overrides: tuple[str, ...],
    stage_id: str | None,
    share: str,
    max_hours: float | None,
    on: str | None,
    runs: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Let the teachers label recorded crops once, so that training never runs them again.

    RECIPE has a stage with `labels` (`compactor recipes` lists those that ship). Teachers that are stages of
    the recipe are trained first. Killed at any moment, the same command goes on where it was; several of them
    at once, in the same folder, share the work. `compactor run` makes missing labels by itself.

    \b
    compactor plan digits-fkd                 how many crops, how big
    compactor label digits-fkd
    compactor label my.yaml --on local:2      two processes, each with half of the processors
    compactor label my.yaml --on slurm:workers=8,slurm_partition=gpu
    compactor label my.yaml --share 2/4       the second of four machines
    compactor store inspect runs/digits-fkd/labels/*
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, progress_reporter
    from compactor.recipe.load import load_recipe
    from compactor_runtimes.errors import UsageError, needs_extra

    reporter = progress_reporter(quiet=quiet)
    deadline_s = None if max_hours is None else time.monotonic() + 3600 * max_hours
    loaded = load_recipe(recipe, overrides)
    if on is not None and share != "1/1":
        raise UsageError("--on and --share: give one; the workers of --on share all of the labels")
    with needs_extra("train"):
        from compactor.run.label import label_recipe
        from compactor.trainer.processes import end_processes, is_main_process
    made = label_recipe(
        loaded,
        runs=runs,
        stage_id=stage_id,
        share=share_of(share),
        reporter=reporter,
        deadline_s=deadline_s,
        workers=workers_of(on, runs, reporter, deadline_s),
    )
    end_processes()
    if not is_main_process():
        return
    if as_json:
        emit_json([one.to_json() for one in made])
        return
    for one in made:
        click.echo(one.text())
        if one.is_whole:
            click.echo(f"next:  compactor store inspect {one.folder}")
