"""The table of single labels, of which any number may be true of a sample."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.draw.text_tables import Cell, Table, number_cell
from compactor_runtimes.report.format import overridden_notes

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report


def labels_table(report: "Report", *, alone: bool = False) -> Table:
    """A row a label, those that the shipped subject finds least first; `alone` leaves the others out."""
    rows, main = report.labels, report.shipped
    subjects = list(dict.fromkeys(name for row in rows for name in row.threshold))
    subjects = [name for name in subjects if name == main] if alone else subjects
    headings = ["label", "n"]
    for name in subjects:
        headings += [f"AP {name}", f"F1 {name}", f"from {name}"]
    table = Table(headings, [])

    ordered = sorted(
        rows,
        key=lambda row: (2.0 if (ap := row.average_precision.get(main)) is None else ap, row.label),
    )
    for row in ordered:
        cells = [Cell(row.label), Cell(f"{row.n:,}", order=row.n)]
        for name in subjects:
            ap, f1 = row.average_precision.get(name), row.f1.get(name)
            cells.append(number_cell(ap, f"{100 * (ap or 0):.1f}%"))
            cells.append(number_cell(f1, f"{100 * (f1 or 0):.1f}%"))
            cells.append(Cell(f"{row.threshold[name]:.3f}", order=row.threshold[name]))
        table.rows.append(cells)
    table.notes.append(
        f"Sorted by the average precision (AP) of {main}. F1 at the probability from which on a label is "
        "answered (from), chosen on select: the student's for all artifacts, the teachers' own for them."
    )
    table.notes.extend(overridden_notes(report))
    return table
