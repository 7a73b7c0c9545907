"""`compactor status`: how far work is that commands with `--on` share among workers."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("status")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--stop", is_flag=True, help="Ask all workers to stop after the batch at hand.")
@JSON
def command(folder: Path, stop: bool, as_json: bool) -> None:
    """Show work below FOLDER that `--on` shares: items done, running, failed and why, time left and spent.

    FOLDER is that of all runs, of a recipe's runs, or of one piece of work. Wherever the workers run, this
    reads their journals in the folder that they share. `--stop` cancels on any launcher; what is finished is
    kept, and the command that began the work goes on with it.

    \b
    compactor status
    compactor status runs/my-recipe --stop
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, result_console
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.launch.status import render_work, stop_work, work_below
    found = work_below(folder)
    if stop:
        stop_work(found)
    if as_json:
        emit_json([one.to_json() for one in found])
        return
    result_console().print(render_work(found))
    if stop:
        click.echo("all were asked to stop after the batch at hand")
