"""`compactor run RECIPE`."""

from pathlib import Path

import click

from compactor.cli.recipe_options import recipe_options


@click.command("run")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(recipe: str, overrides: tuple[str, ...], runs: Path, as_json: bool, quiet: bool) -> None:
    """Train, distil, export, verify, measure and pack: from teachers to a bundle.

    RECIPE is a shipped name (see `compactor recipes`) or a YAML file. Finished stages are reused when
    nothing that decides their result has changed; an interrupted one goes on where it was.

    \b
    compactor run digits
    compactor run my.yaml --set stages.0.epochs=3 --set seed=1
    torchrun --nproc-per-node 2 -m compactor run my.yaml
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from rich.console import Console

    from compactor.cli import emit_json, result_console
    from compactor.progress import RichReporter, SilentReporter
    from compactor.recipe import load_recipe
    from compactor_runtimes.errors import needs_extra

    loaded = load_recipe(recipe, overrides)
    with needs_extra("train"):
        from compactor.run.pipeline import run_recipe
        from compactor.trainer.processes import end_processes
    reporter = SilentReporter() if quiet else RichReporter(Console(stderr=True))
    result = run_recipe(loaded, runs=runs, reporter=reporter)
    end_processes()
    if result is None:  # a process of torchrun other than the first
        return
    if as_json:
        emit_json(result.to_json())
        return
    from compactor_runtimes.report import render_terminal

    result_console().print(render_terminal(result.report))
    click.echo(f"bundle: {result.bundle}\nreport: {result.report_file}")
    click.echo(f"next:   compactor predict {result.bundle} IMAGE.png")
