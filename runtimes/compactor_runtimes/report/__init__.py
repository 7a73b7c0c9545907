"""The report of one run, read and written: truth (accuracy, agreement, calibration), cost, gates, story.

Raw samples are kept and every summary is derived from them. `contents`, `rows`, `format` and `report_json`
know nothing of `decide/`, which knows nothing of `draw/`.
"""

from compactor_runtimes.report.contents import (
    AccuracyRow,
    ClassRow,
    Confusion,
    Curve,
    Example,
    Kind,
    LabelRow,
    PairedRow,
    RejectRow,
    Report,
    ScoreRow,
    Variant,
)
from compactor_runtimes.report.decide.choice import Choice, choose
from compactor_runtimes.report.decide.recommend import (
    BETTER_THAN_CHANCE,
    ERROR_RATIO,
    is_ready,
    recommend,
)
from compactor_runtimes.report.draw.html import render_html
from compactor_runtimes.report.draw.markdown import render_markdown
from compactor_runtimes.report.draw.pages import Pages, write_pages, write_report
from compactor_runtimes.report.draw.terminal import render_terminal
from compactor_runtimes.report.format import artifact_bytes, artifact_name
from compactor_runtimes.report.label_rows import (
    LabelAnswers,
    label_rows,
    labels_accuracy_row,
    labels_paired_row,
)
from compactor_runtimes.report.reject_rows import reject_row
from compactor_runtimes.report.report_json import REPORT_FILE, read_report, report_files
from compactor_runtimes.report.rows import accuracy_row, fidelity_row, paired_row
from compactor_runtimes.report.score_rows import SlotAnswers, score_rows

__all__ = [
    "BETTER_THAN_CHANCE",
    "ERROR_RATIO",
    "REPORT_FILE",
    "AccuracyRow",
    "Choice",
    "ClassRow",
    "Confusion",
    "Curve",
    "Example",
    "Kind",
    "LabelAnswers",
    "LabelRow",
    "Pages",
    "PairedRow",
    "RejectRow",
    "Report",
    "ScoreRow",
    "SlotAnswers",
    "Variant",
    "accuracy_row",
    "artifact_bytes",
    "artifact_name",
    "choose",
    "fidelity_row",
    "is_ready",
    "label_rows",
    "labels_accuracy_row",
    "labels_paired_row",
    "paired_row",
    "read_report",
    "recommend",
    "reject_row",
    "render_html",
    "render_markdown",
    "render_terminal",
    "report_files",
    "score_rows",
    "write_pages",
    "write_report",
]
