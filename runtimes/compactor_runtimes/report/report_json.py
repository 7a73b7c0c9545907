"""Write and read report.json, and name the files beside it, which `draw/pages.py` writes."""

import re
from pathlib import Path

import msgspec

from compactor_runtimes.bundle.manifest import drop_parents
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.files import write_whole
from compactor_runtimes.report.contents import READABLE_VERSIONS, Report

REPORT_FILE, MARKDOWN_FILE, HTML_FILE = "report.json", "report.md", "report.html"


def write_json(report: Report, folder: Path) -> Path:
    """Write report.json into `folder`, whole or not at all, and return its path."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    # one line for a list of numbers, or raw samples would take a line each (a string holds no raw newline)
    text = re.sub(rb"\[\n[-+.\deE,\s]*\]", lambda found: re.sub(rb"\s+", b"", found[0]), text)
    path = folder / REPORT_FILE
    write_whole(path, text + b"\n")
    return path


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
