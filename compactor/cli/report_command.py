"""`compactor report SOURCE` and `compactor report merge A B`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compactor_runtimes.report import Pages

PROFILE = "profile.json"
PROFILES_KEY, BEGINNING = b'"tool_version"', 1 << 16  # what no report has, and profiles have early on

PLACES = ("report.json", "report/report.json", "reports/report.json", "latest/report/report.json")


class DrawByDefault(click.Group):
    """`report SOURCE` draws; what is no other command's name is a source."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `draw` before a source."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["draw", *args]
        return super().parse_args(ctx, args)


@click.group("report", cls=DrawByDefault)
def command() -> None:
    """Draw the pages of a run or of a profile again, or join the profiles of several machines.

    \b
    compactor report runs/digits              the same as: compactor report draw runs/digits
    compactor report profiles/digits/TIME
    compactor report merge laptop/profile.json server/profile.json
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow


@command.command("draw")
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder to write to; absent: beside what is read."
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
def draw(source: Path, output: Path | None, open_it: bool) -> None:
    """Draw the pages of a report.json or a profile.json again, without measuring anything.

    SOURCE is a run's folder, a recipe's folder of runs (its latest one), a folder with report.json or
    profile.json, or a bundle. A bundle is never written to, because its manifest holds the hash of every
    file: give --output.

    \b
    compactor report runs/digits
    compactor report BUNDLE --output page --open
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor_runtimes.measure.profile_file import read_profile
    from compactor_runtimes.report import read_report, write_pages
    from compactor_runtimes.report.draw.profile_pages import write_profile_pages

    profile = profile_in(source)
    if profile is not None:
        pages = write_profile_pages(read_profile(profile), output or profile.parent)
    else:
        path = find_report(source)
        pages = write_pages(read_report(path), output or writable_folder(path))
    tell(pages, open_it=open_it)


@command.command("merge")
@click.argument("sources", nargs=-1, required=True, metavar="A B ...", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("machines"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
def merge(sources: tuple[Path, ...], output: Path, open_it: bool) -> None:
    """Join profiles of several machines: one table of targets against variants, and one page.

    A and B are profile.json files or folders that hold one. Nothing is divided across machines.

    \b
    compactor report merge laptop/profile.json server/profile.json --output machines
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import result_console
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.measure.profile_file import read_profile
    from compactor_runtimes.report.draw.profile_pages import render_merged_terminal, write_merged_pages

    given = [profile_in(source) or source for source in sources]
    if len(set(given)) != len(given) or len(given) < 2:
        raise UsageError(
            f"report merge: {', '.join(map(str, given))} found, expected two or more profiles, each once"
        )
    profiles = [read_profile(path) for path in given]
    names = [str(path) for path in given]
    result_console().print(render_merged_terminal(profiles, names))
    output.mkdir(parents=True, exist_ok=True)
    tell(write_merged_pages(profiles, names, output), open_it=open_it)


def tell(pages: "Pages", *, open_it: bool) -> None:
    """Print where the pages lie, and open the last one if asked to."""
    for page in pages.files:
        click.echo(page)
    if pages.note:
        click.echo(pages.note, err=True)
    if open_it:
        click.launch(pages.files[-1].resolve().as_uri())


def profile_in(source: Path) -> Path | None:
    """The profile.json that `source` is or holds; None where it is something else."""
    if source.is_file():
        with source.open("rb") as file:
            return source if PROFILES_KEY in file.read(BEGINNING) else None
    return source / PROFILE if (source / PROFILE).is_file() else None


def find_report(source: Path) -> Path:
    """Find the report.json that `source` means.

    Raises:
        UsageError: there is none.
    """
    from compactor_runtimes.errors import UsageError

    if source.is_file():
        return source
    for place in PLACES:
        if (source / place).is_file():
            return source / place
    found = "no report.json" if source.is_dir() else "no such folder"
    raise UsageError(
        f"{source}: {found} found, expected a run's folder, a folder with report.json or a bundle; "
        "make one with: compactor run RECIPE"
    )


def writable_folder(report: Path) -> Path:
    """The folder of report.json, unless it belongs to a bundle.

    Raises:
        UsageError: it does.
    """
    from compactor_runtimes.bundle.open import MANIFEST
    from compactor_runtimes.errors import UsageError

    for folder in (report.parent, report.parent.parent):
        if (folder / MANIFEST).is_file():
            raise UsageError(
                f"{folder}: is a bundle, whose files must stay as its manifest lists them; "
                "say where to write with --output FOLDER"
            )
    return report.parent
