"""Write a report with its pages: report.md and, where the `report` extra is installed, report.html."""

from dataclasses import dataclass
from pathlib import Path

from compactor_runtimes.errors import MissingDependency
from compactor_runtimes.files import write_whole
from compactor_runtimes.report.contents import Report
from compactor_runtimes.report.draw.html import render_html
from compactor_runtimes.report.draw.markdown import render_markdown
from compactor_runtimes.report.report_json import HTML_FILE, MARKDOWN_FILE, write_json


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json and its pages (see `write_pages`) into `folder`, each file whole or not at all.

    Returns:
        The path of report.json; `report_files` lists all that was written.
    """
    path = write_json(report, folder)
    write_pages(report, folder)
    return path


@dataclass(frozen=True)
class Pages:
    """The files that were written, and why one is missing (empty where none is)."""

    files: list[Path]
    note: str


def write_pages(report: Report, folder: Path) -> Pages:
    """Write report.md and, where the `report` extra is installed, report.html into `folder`.

    Without the extra, report.md names the command that brings it, and an older report.html is removed: it
    would tell of another run.
    """
    markdown, html = folder / MARKDOWN_FILE, folder / HTML_FILE
    try:
        page, note = render_html(report), ""
    except MissingDependency as error:
        page, note = None, f"{HTML_FILE} was not written: {error}"
    write_whole(markdown, render_markdown(report, note=note).encode())
    if page is None:
        html.unlink(missing_ok=True)
        return Pages([markdown], note)
    write_whole(html, page.encode())
    return Pages([markdown, html], note)
