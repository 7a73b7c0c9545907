"""`compactor recommend RECIPE`: try methods and learning rates for a while, write the best into a recipe."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compactor.cli.output_options import QUIET
from compactor.cli.recipe_options import on_option, recipe_options, workers_of

if TYPE_CHECKING:
    from compactor.recommend.prepare import Prepared, Request


@click.command("recommend")
@recipe_options
@click.option(
    "--methods", metavar="A,B,...|all", help="What is tried beside the recipe's own; default: a short list."
)
@click.option(
    "--rates",
    metavar="R,R,...",
    help="Learning rates; default: a third of the recipe's, its own, 3 times it.",
)
@click.option(
    "--budget-steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Optimiser steps of all trials; default: 3 times those of the recipe's last stage.",
)
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="The same in minutes, turned into steps by a short measurement.",
)
@click.option(
    "--seeds", metavar="0,1,2", help="Train each setting once for each seed; default: the recipe's."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the recommended recipe is written; default: NAME-recommended.yaml beside the recipe.",
)
@on_option
@click.option("--yes", is_flag=True, help="Do not ask before training starts.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@QUIET
def command(
    recipe: str,
    overrides: tuple[str, ...],
    runs: Path,
    methods: str | None,
    rates: str | None,
    budget_steps: int | None,
    budget_minutes: float | None,
    seeds: str | None,
    out: Path | None,
    on: str | None,
    yes: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Try methods, options and learning rates of the last stage for a while; write the best into a recipe.

    All settings are trained for a few steps, the best third of them anew for three times as many, and so on.
    The recipe's own setting and the baseline, `supervised`, stay to the end. Everything is judged on select,
    with 95% intervals and paired differences; the report split is never read. What is chosen on select looks
    better there than it is: the report of a full run tells.

    What it costs is said before anything is trained. Ctrl-C stops it, the same command goes on.

    \b
    compactor recommend digits
    compactor recommend my.yaml --methods kd,dml --rates 0.03,0.1 --budget-minutes 30 --out best.yaml
    compactor recommend my.yaml --seeds 0,1,2 --yes
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import progress_reporter
    from compactor.recipe.load import load_recipe
    from compactor.recommend.candidates import parse_methods, parse_rates
    from compactor_runtimes.errors import UsageError, needs_extra

    if budget_steps is not None and budget_minutes is not None:
        raise UsageError("--budget-steps and --budget-minutes: give one")
    names, tried = parse_methods(methods), parse_rates(rates)
    loaded = load_recipe(recipe, overrides)
    with needs_extra("train"):
        from compactor.recommend.prepare import Request, prepare
        from compactor.recommend.winner import recommended_file
        from compactor.run.seeds import parse_seeds
    request = Request(
        methods=names,
        rates=tried,
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        seeds=tuple(parse_seeds(seeds)) if seeds is not None else (),
    )
    file = recommended_file(loaded, out)
    reporter = progress_reporter(quiet=quiet)
    workers = workers_of(on, runs, reporter, None)
    prepared = prepare(loaded, request, runs=runs, reporter=reporter)
    prepared = replace(prepared, bench=replace(prepared.bench, workers=workers))
    if not _agreed(prepared, yes=yes or as_json, quiet=quiet):
        click.echo("nothing was trained")
        return
    _finish(prepared, file, again=_command(prepared, request, runs, out), as_json=as_json)


def _agreed(prepared: "Prepared", *, yes: bool, quiet: bool) -> bool:
    """Say what it costs and, of a person at a terminal, ask; what has begun was agreed to before."""
    from compactor.recommend.terminal import cost_lines

    if not quiet:
        for line in cost_lines(prepared):
            click.echo(line, err=True)
    if yes or prepared.has_begun or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    return click.confirm("go on?", default=True, err=True)


def _finish(prepared: "Prepared", file: Path, *, again: str, as_json: bool) -> None:
    """Run it, write the recipe and print what was found."""
    import msgspec

    from compactor.cli import emit_json, result_console
    from compactor.recommend.search import recommend
    from compactor.recommend.terminal import conclusion, render
    from compactor.recommend.winner import write_recommended

    found = recommend(prepared, command=again)
    notes = write_recommended(prepared.loaded, found, file)
    if as_json:
        rows = [msgspec.to_builtins(row) | {"verdict": row.verdict} for row in found.rows]
        told = {"rows": rows, "folder": str(prepared.folder), "out": str(file), "notes": notes}
        emit_json(msgspec.to_builtins(found) | told)
        return
    result_console().print(render(found))
    for line in conclusion(found):
        click.echo(line)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"recipe: {file}")
    click.echo(f"kept in: {prepared.folder}")
    click.echo(f"next:   compactor run {shlex.quote(str(file))}")


def _command(prepared: "Prepared", request: "Request", runs: Path, out: Path | None) -> str:
    """The command line that goes on."""
    options = {
        "--methods": ",".join(request.methods),
        "--rates": ",".join(f"{rate:.17g}" for rate in request.rates),
        "--budget-steps": request.budget_steps,
        "--budget-minutes": request.budget_minutes,
        "--seeds": ",".join(map(str, request.seeds)),
        "--out": out,
    }
    words = [word for key, value in options.items() if value not in (None, "") for word in (key, str(value))]
    return " ".join([prepared.loaded.command(runs, verb="recommend"), shlex.join(words)]).strip()
