"""`compactor report RUN_OR_BUNDLE`."""

from pathlib import Path

import click

PLACES = ("report.json", "report/report.json", "reports/report.json", "latest/report/report.json")


@click.command("report")
@click.argument("source", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder to write to; absent: beside report.json."
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
def command(source: Path, output: Path | None, open_it: bool) -> None:
    """Draw report.html and report.md again from a report.json, without measuring anything.

    RUN_OR_BUNDLE is a run's folder, a recipe's folder of runs (its latest one), a folder with report.json, or
    a bundle. A bundle is never written to, because its manifest holds the hash of every file: give --output.

    \b
    compactor report runs/digits
    compactor report BUNDLE --output page --open
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor_runtimes.report import read_report, write_pages

    path = find_report(source)
    pages = write_pages(read_report(path), output or writable_folder(path))
    for page in pages.files:
        click.echo(page)
    if pages.note:
        click.echo(pages.note, err=True)
    if open_it:
        click.launch(pages.files[-1].resolve().as_uri())


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
