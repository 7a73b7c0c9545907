"""The table of what every subject rejects, and what it gets right of the rest."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.draw.text_tables import Cell, Table, number_cell, subject_cell
from compactor_runtimes.report.format import is_unlabelled, overridden_notes, unique

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report
    from compactor_runtimes.stats.metrics import Interval


def rejects_table(report: "Report") -> Table:
    """A row a subject; columns of scope where a class of the data means "none of these"."""
    rows = report.rejects
    none = unique(row.out_of_scope for row in rows if row.out_of_scope)
    headings = ["subject", "threshold", "rejected [95%]", "accuracy of kept [95%]"]
    headings += ["in-scope accuracy [95%]", "out-of-scope recall [95%]"] if none else []
    table = Table(headings, [])
    for row in rows:
        scope = [_rate(row.in_scope_accuracy), _rate(row.out_of_scope_recall)] if none else []
        table.rows.append(
            [
                subject_cell(row.subject, report, row.kind),
                Cell(f"{row.threshold:.4g}", order=row.threshold),
                _rate(row.rejected),
                _rate(row.kept_accuracy),
                *scope,
            ]
        )
    note = (
        f"Samples: {unique(row.split for row in rows)}. An answer is rejected if its confidence lies below "
        "the threshold, which was chosen on select samples: the student's for all artifacts, the teachers' "
        "own for them."
    )
    if none:
        note += (
            f" An answer {none!r} is rejected too. In-scope accuracy: of samples of the other classes, the "
            f"answer is kept and right. Out-of-scope recall: of samples of class {none!r}, the answer is "
            "rejected."
        )
    if is_unlabelled(report):
        note += " Accuracy: what the teachers' top class has."
    table.notes.extend([note, *overridden_notes(report)])
    return table


def _rate(one: "Interval | None") -> Cell:
    """A share in percent with its interval and count; a dash where there were no samples."""
    if one is None:
        return number_cell(None, "")
    note = f"[{100 * one.low:.1f}, {100 * one.high:.1f}] n {one.n:,}"
    return Cell(f"{100 * one.value:.2f}%", note, "strong", one.value)
