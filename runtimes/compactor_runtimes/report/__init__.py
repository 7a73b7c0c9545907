"""The report of one run, read and written: truth (accuracy, agreement, calibration), cost, gates, story.

Raw samples are kept and every summary is derived from them. The other modules here draw it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from compactor_runtimes.bundle.manifest import drop_parents
from compactor_runtimes.errors import IntegrityError, MissingDependency
from compactor_runtimes.files import write_whole
from compactor_runtimes.report.contents import (
    READABLE_VERSIONS,
    AccuracyRow,
    ClassRow,
    Confusion,
    Curve,
    Example,
    Kind,
    PairedRow,
    Report,
    ScoreRow,
    Variant,
)
from compactor_runtimes.report.decide.choice import Choice, choose
from compactor_runtimes.report.decide.recommend import recommend
from compactor_runtimes.report.draw.html import render_html
from compactor_runtimes.report.draw.markdown import render_markdown
from compactor_runtimes.report.draw.terminal import render_terminal
from compactor_runtimes.report.format import artifact_bytes, artifact_name
from compactor_runtimes.report.rows import accuracy_row, fidelity_row, paired_row
from compactor_runtimes.report.score_rows import SlotAnswers, score_rows

__all__ = [
    "AccuracyRow",
    "Choice",
    "ClassRow",
    "Confusion",
    "Curve",
    "Example",
    "Kind",
    "Pages",
    "PairedRow",
    "Report",
    "ScoreRow",
    "SlotAnswers",
    "Variant",
    "accuracy_row",
    "artifact_bytes",
    "artifact_name",
    "choose",
    "fidelity_row",
    "paired_row",
    "read_report",
    "recommend",
    "render_html",
    "render_markdown",
    "render_terminal",
    "report_files",
    "score_rows",
    "write_pages",
    "write_report",
]

REPORT_FILE, MARKDOWN_FILE, HTML_FILE = "report.json", "report.md", "report.html"


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json and its pages (see `write_pages`) into `folder`, each file whole or not at all.

    Returns:
        The path of report.json; `report_files` lists all that was written.
    """
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    # one line for a list of numbers, or raw samples would take a line each (a string holds no raw newline)
    text = re.sub(rb"\[\n[-+.\deE,\s]*\]", lambda found: re.sub(rb"\s+", b"", found[0]), text)
    path = folder / REPORT_FILE
    write_whole(path, text + b"\n")
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


def report_files(folder: Path) -> list[Path]:
    """List the files of the report in `folder`, report.json first; report.html may be absent."""
    return [path for name in (REPORT_FILE, MARKDOWN_FILE, HTML_FILE) if (path := folder / name).is_file()]


def read_report(path: Path) -> Report:
    """Read a report that `write_report` wrote.

    Raises:
        IntegrityError: missing, damaged, or of another schema version.
    """
    try:
        content = path.read_bytes()
        raw = msgspec.json.decode(content)
        version = raw.get("schema_version")
    except (OSError, msgspec.DecodeError, AttributeError) as error:
        raise IntegrityError(f"{path}: is not a report ({error}); run the measurement again") from error
    if version not in READABLE_VERSIONS:
        raise IntegrityError(
            f"{path}: schema version {version!r} found, this release reads "
            f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}; "
            "use the compactor-toolkit release that wrote it"
        )
    if version == 1:
        drop_parents(raw, "artifacts")
    try:
        return msgspec.convert(raw, Report)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{path}: {error}; the report is damaged, run the measurement again") from error
