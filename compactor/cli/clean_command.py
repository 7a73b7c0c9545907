"""`compactor clean`."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("clean")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of all runs.",
)
@click.option("--cache", is_flag=True, help="Also the data cache ($COMPACTOR_CACHE or ~/.cache/compactor).")
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Never touch the N newest runs of each recipe."
)
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="What has not changed for DAYS goes."
)
@click.option("--max-size", metavar="SIZE", help="The oldest go until the rest fits, e.g. 5GB.")
@click.option("--keep-bundles", is_flag=True, help="Leave the bundle of a run that goes.")
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be removed.")
@JSON
def command(
    runs: Path,
    cache: bool,
    keep: int | None,
    older_than: float | None,
    max_size: str | None,
    keep_bundles: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """List runs, trained stages and cached data with size and age; remove old ones with --yes.

    Without a limit nothing goes. --keep alone removes all but the N newest runs of each recipe, and the
    trained stages that no run needs any longer; together with --older-than or --max-size it protects the N
    newest from these. The data cache is touched by --older-than and --max-size only.

    Never removed: `latest`, a run or a stage that is being worked on, and what a run that stays links to.
    Symbolic links are not followed, and what is not made by `compactor` is not touched.

    \b
    compactor clean                              what is there, and how big
    compactor clean --keep 3                     what would go
    compactor clean --keep 3 --keep-bundles --yes
    compactor clean --cache --max-size 5GB --yes
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.clean import Limits, carry_out, parse_size, plan_clean
    from compactor.clean.items import cache_root
    from compactor.clean.terminal import clean_table, command_line, summary, to_json
    from compactor.cli import emit_json, result_console

    limits = Limits(
        keep=keep,
        older_than_days=older_than,
        max_size_bytes=None if max_size is None else parse_size(max_size),
        keep_bundles=keep_bundles,
    )
    plan = plan_clean(runs, limits, cache=cache_root() if cache else None)
    again = command_line(runs, limits, cache=cache, max_size=max_size)
    freed = carry_out(plan) if yes else None
    if as_json:
        emit_json(to_json(plan, freed=freed, command=again))
        return
    if plan.verdicts:
        result_console().print(clean_table(plan, runs))
    click.echo(summary(plan, freed=freed, command=again))
