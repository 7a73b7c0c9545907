"""The argument and options of commands that take a recipe."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compactor.launch.ahead import Ahead
    from compactor.progress import Reporter


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add RECIPE, --set and --runs to a command."""
    runs = click.option(
        "--runs",
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="Folder of all runs.",
    )
    overrides = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a recipe key, e.g. stages.0.epochs=3.",
    )
    return click.argument("recipe")(overrides(runs(function)))


def trace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --no-trace to a command."""
    return click.option(
        "--no-trace",
        "trace",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Do not try first whether the student can be exported.",
    )(function)


def share_of(text: str) -> tuple[int, int]:
    """Read `--share I/N`.

    Raises:
        UsageError: it is no such pair.
    """
    from compactor_runtimes.errors import UsageError

    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise UsageError(f"--share: got {text!r}, expected I/N with 1 <= I <= N, for example 2/4")
    return int(first), int(second)


def on_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --on to a command."""
    return click.option(
        "--on",
        metavar="LAUNCHER",
        help="Share the work among processes: local:N, ray:[ADDRESS,]workers=N, slurm:workers=N,KEY=VALUE.",
    )(function)


def workers_of(on: str | None, runs: Path, reporter: "Reporter", deadline_s: float | None) -> "Ahead | None":
    """What --on asks for; None without it.

    Raises:
        UsageError: an unknown launcher, an option that it does not have, or torchrun started this command.
    """
    if on is None:
        return None
    from compactor_runtimes.errors import UsageError, needs_extra

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"--on {on}: torchrun started {os.environ['WORLD_SIZE']} processes of this command, and each "
            "would start workers; give --on without torchrun (processes=N trains a stage in N), or torchrun "
            "without --on"
        )
    from compactor.launch.where import parse_where

    where = parse_where(on)
    with needs_extra("train"):
        from compactor.launch.ahead import Ahead
    return Ahead(where, runs, reporter, deadline_s)
