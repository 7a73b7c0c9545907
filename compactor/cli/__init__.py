"""The command line: one file a command, one function a command, one printed result.

Commands load on demand; nothing here or in a command's module imports torch, numpy or another heavy package.
"""

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from compactor import __version__
from compactor_runtimes.errors import CompactorError
from compactor_runtimes.files import misplaced, refusal

if TYPE_CHECKING:
    from rich.console import Console

    from compactor.progress import Reporter

COMMANDS = (
    "run",
    "export",
    "init",
    "plan",
    "recommend",
    "recipes",
    "methods",
    "schema",
    "label",
    "store",
    "pool",
    "status",
    "verify",
    "sign",
    "publish",
    "deploy",
    "predict",
    "serve",
    "inspect",
    "measure",
    "compare",
    "report",
    "clean",
    "doctor",
)

CLOSED_READER = 141
"""What a shell says of a program whose reader went away: 128 + SIGPIPE."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order that a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `compactor.cli.<name>_command` and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"compactor.cli.{cmd_name}_command").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; an unknown one is answered with the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from compactor_runtimes.tables import nearest

            raise click.UsageError(f"unknown command {args[0]!r}; {nearest(args[0], list(COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="compactor")
def cli() -> None:
    """Distil big models into a small one that is proven fit to ship.

    \b
    compactor run digits             train, distil, export, verify, measure and pack; needs no download
    compactor init TEACHER STUDENT DATA   write a recipe for your own teacher and data
    compactor predict BUNDLE a.png   use the result, without torch
    compactor verify BUNDLE          check a bundle on this machine

    Exit codes: 0 ok, 1 our bug, 2 usage, 3 numeric gate, 4 accuracy gate, 5 performance gate, 6 environment,
    7 integrity, 130 interrupted and resumable.
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow


def main() -> None:
    """Run the command line; a user's error becomes one sentence and an exit code, our bug a traceback."""
    try:
        code = cli.main(standalone_mode=False)
    except SystemExit:  # click's, and silent: who reads the output went away
        code = CLOSED_READER
    except CompactorError as error:
        code = fail(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except OSError as error:  # no writer named the file: standard output, or a folder that could not be made
        place = error.filename or "output"
        refused = refusal(error, place) or (misplaced(error, place) if error.filename else None)
        if refused is None:
            raise
        code = fail(refused)
    sys.exit(code if isinstance(code, int) else 0)


def fail(error: CompactorError) -> int:
    """Say what is wrong on standard error (with --json on standard output too); return the exit code."""
    message = " ".join(str(error).split())
    try:
        if "--json" in sys.argv:
            emit_json({"error": type(error).__name__, "message": message, "exit_code": error.exit_code})
        sys.stdout.flush()
    except OSError:  # it is standard output that fails, and would once more at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    click.echo(f"error: {message}", err=True)
    return error.exit_code


def result_console() -> "Console":
    """A console for results; piped output gets 120 columns, so that no table is cut."""
    console = plain_console()
    return console if console.is_terminal else plain_console(width=120)


def progress_reporter(*, quiet: bool = False) -> "Reporter":
    """Where a command's progress goes: to standard error, so that results can be piped."""
    from compactor.progress import RichReporter, SilentReporter

    return SilentReporter() if quiet else RichReporter(plain_console(stderr=True))


def plain_console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """The only maker of consoles: text is printed as it is, `[extra]` and `:smile:` too; style is Text's."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def emit_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=1, default=str))
