"""The table of what every subject scores on intents and slots."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.draw.text_tables import Cell, Style, Table, number_cell, subject_cell
from compactor_runtimes.report.format import error_change, error_change_interval, overridden_notes, unique
from compactor_runtimes.report.score_rows import EXACT, INTENT, METRICS, SLOTS

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report, ScoreRow


def scores_table(report: "Report") -> Table:
    """A row a subject; errors of intent and slots against the teacher's beside the values."""
    metrics = [one for one in METRICS if any(row.metric == one for row in report.scores)]
    table = Table(["subject"], [])
    for metric in metrics:
        table.headings.append(f"{metric} [95%]")
        if metric != EXACT:
            table.headings.append("error change")
    for subject in dict.fromkeys(row.subject for row in report.scores):
        found = {row.metric: row for row in report.scores if row.subject == subject}
        cells = [subject_cell(subject, report, next(iter(found.values())).kind)]
        for metric in metrics:
            row = found[metric]
            note = f"[{100 * row.low:.1f}, {100 * row.high:.1f}]"
            cells.append(Cell(f"{100 * row.value:.2f}%", note, "strong", row.value))
            if metric != EXACT:
                cells.append(_change_cell(row))
        table.rows.append(cells)
    told = {
        INTENT: "",
        SLOTS: " Slot F1: whole spans with their name, micro.",
        EXACT: " Exact match: the intent and the label of every word are right.",
    }
    splits = unique(row.split for row in report.scores)
    counts = unique(f"{row.n:,}" for row in report.scores)
    table.notes.append(
        f"Samples: {splits}, n {counts}."
        + "".join(told[metric] for metric in metrics)
        + " Error change: (error - teacher's error) / teacher's error, negative is better; grey is inside "
        "the noise."
    )
    table.notes.extend(overridden_notes(report))
    return table


def _change_cell(row: "ScoreRow") -> Cell:
    """A relative error change with its interval, which says whether it is noise."""
    low, high = row.relative_low, row.relative_high
    if row.relative_error_change is None or low is None:
        return number_cell(row.relative_error_change, error_change(row))
    style: Style = "bad" if low > 0 else "good" if high is not None and high < 0 else "dim"
    return Cell(error_change(row), error_change_interval(row), style, row.relative_error_change)
