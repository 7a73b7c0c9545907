"""The tables of a report as plain text cells, which Markdown and HTML both draw."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from compactor_runtimes.report.format import (
    MAP,
    NO_VALUE,
    OVERRIDDEN,
    RANK_CORRELATION,
    VERDICT_WORDS,
    agreement_words,
    change,
    change_interval,
    interval,
    marked,
    overridden,
    overridden_notes,
    p_value,
    share,
    unique,
    unit,
)
from compactor_runtimes.stats.metrics import wilson
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.bundle.manifest import Check
    from compactor_runtimes.report.contents import ClassRow, Confusion, Report

Style = Literal["", "good", "bad", "warn", "dim", "strong"]
INVALID = "INVALID"
VERDICT_STYLES: dict[str, Style] = {"noise": "dim", "better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a smaller remark below it, and what it sorts by where that is a number."""

    text: str
    note: str = ""
    style: Style = ""
    order: float | None = None


@dataclass(frozen=True)
class Table:
    """Headings, rows of as many cells, and remarks below; `text_columns` are those that are no numbers."""

    headings: list[str]
    rows: list[list[Cell]]
    text_columns: frozenset[int] = frozenset({0})
    notes: list[str] = field(default_factory=list)


def truth_table(report: "Report") -> Table:
    """What every subject scores."""
    rows = report.accuracy
    metric = unique(row.metric for row in rows)
    with_f1 = any(row.macro_f1 is not None for row in rows)
    with_micro = any(row.micro_f1 is not None for row in rows)
    scores = [*(["macro-F1"] if with_f1 else []), *(["micro-F1"] if with_micro else [])]
    headings = ["subject", f"{metric} [95%]", "n", *scores, agreement_words(rows)]
    table = Table([*headings, "KL, nats", "ECE", "parameters", "size"], [])
    for row in rows:
        f1 = [number_cell(row.macro_f1, f"{100 * (row.macro_f1 or 0):.2f}%")] if with_f1 else []
        if with_micro:
            f1.append(number_cell(row.micro_f1, f"{100 * (row.micro_f1 or 0):.2f}%"))
        agreement, sign = row.agreement_with_teacher, unit(row)
        table.rows.append(
            [
                subject_cell(row.subject, report, row.kind),
                Cell(f"{share(row.value, row)}{sign}", interval(row), "strong", row.value),
                Cell(f"{row.n:,}", order=row.n),
                *f1,
                number_cell(agreement, f"{share(agreement or 0, row)}{sign}"),
                number_cell(row.kl_to_teacher, f"{row.kl_to_teacher or 0:.4f}"),
                number_cell(row.ece, f"{100 * (row.ece or 0):.2f}%"),
                number_cell(row.parameters, scaled(row.parameters or 0, "")),
                number_cell(row.size_bytes, scaled(row.size_bytes or 0, "B")),
            ]
        )
    splits = unique(row.split for row in rows)
    if any(row.metric == RANK_CORRELATION for row in rows):
        table.notes.append(
            f"Samples: {splits}. Rank correlation: Spearman, of the similarities of all pairs of samples, "
            "as the subject and as the teacher see them. Mean cosine: between both embeddings of a sample."
        )
    elif any(row.metric == MAP for row in rows):
        table.notes.append(
            f"Samples: {splits}. mAP: mean average precision over labels, interval by bootstrap of samples. "
            "F1 at the thresholds that were chosen on select. Agreement: share of label decisions that are "
            "the teacher's. KL: teacher against subject, summed over labels. ECE: of all label probabilities."
        )
    else:
        table.notes.append(
            f"Samples: {splits}. Agreement: share of equal top classes with the teacher. KL: teacher against "
            "subject. ECE: expected calibration error, 15 bins."
        )
    table.notes.extend(overridden_notes(report))
    return table


def steps_table(report: "Report") -> Table:
    """What each step changed, sample by sample."""
    headings = ["step", "from", "to", "change [95%]", "n", "McNemar p", "verdict"]
    table = Table(headings, [], frozenset({0, 1, 2, 6}))
    for row in report.paired:
        table.rows.append(
            [
                Cell(row.step),
                Cell(row.a),
                Cell(marked(row.b, report)),
                Cell(change(row), change_interval(row), "strong", row.difference_points),
                Cell(f"{row.n:,}", order=row.n),
                number_cell(row.mcnemar_p, p_value(row.mcnemar_p)),
                Cell(VERDICT_WORDS[row.verdict], style=VERDICT_STYLES[row.verdict]),
            ]
        )
    table.notes.extend(overridden_notes(report))
    return table


def class_table(rows: "list[ClassRow]", main: str) -> Table:
    """Recall and F1 of each class, the classes that `main` finds least first."""
    subjects = list(dict.fromkeys(name for row in rows for name in row.recall))
    headings = ["class", "n", *(f"{word} {name}" for name in subjects for word in ("recall", "F1"))]
    table = Table(headings, [])
    for row in sorted(rows, key=lambda row: (row.recall.get(main, 1.0), row.label)):
        cells = [Cell(row.label), Cell(f"{row.n:,}", order=row.n)]
        for name in subjects:
            found, f1 = row.recall.get(name), row.f1.get(name)
            note = ""
            if name == main and found is not None and row.n:
                low, high = wilson(round(found * row.n), row.n)
                note = f"[{100 * low:.0f}, {100 * high:.0f}]"
            cells.append(number_cell(found, f"{100 * (found or 0):.1f}%", note))
            cells.append(number_cell(f1, f"{100 * (f1 or 0):.1f}%"))
        table.rows.append(cells)
    table.notes.append(f"Sorted by the recall of {main}; in brackets its 95% interval.")
    return table


def confused_table(confusion: "Confusion", most: int) -> Table:
    """The pairs of classes that are confused most often."""
    pairs = [
        (count, row, column)
        for row, counts in enumerate(confusion.counts)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    table = Table(["truth", "answer", "times", "share of the class"], [], frozenset({0, 1}))
    for count, row, column in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:most]:
        part = count / sum(confusion.counts[row])
        table.rows.append(
            [
                Cell(confusion.labels[row]),
                Cell(confusion.labels[column]),
                Cell(f"{count:,}", order=count),
                Cell(f"{100 * part:.1f}%", order=part),
            ]
        )
    if len(pairs) > most:
        table.notes.append(f"The {most} most frequent of {len(pairs):,} confused pairs.")
    return table


def checks_table(checks: "Iterable[Check]") -> Table:
    """Checks with their numbers."""
    table = Table(["check", "verdict", "value", "limit", "n", "detail"], [], frozenset({0, 1, 5}))
    for check in checks:
        table.rows.append(
            [
                Cell(check.name),
                Cell("passed", style="good") if check.passed else Cell("FAILED", style="bad"),
                number_cell(check.value, f"{check.value or 0:.6g}"),
                number_cell(check.limit, f"{check.limit or 0:.6g}"),
                number_cell(check.n, f"{check.n or 0:,}"),
                Cell(check.detail),
            ]
        )
    return table


def main_subject(report: "Report") -> str:
    """The subject that classes and confusion are about: the confusion's, else the shipped one."""
    return report.confusion.subject if report.confusion is not None else report.shipped


def subject_cell(name: str, report: "Report", note: str) -> Cell:
    """A subject's name; the shipped one and one with invalid measurements stand out."""
    shipped, shaky = name == report.shipped, name in overridden(report)
    notes = [note, "shipped" if shipped else "", OVERRIDDEN if shaky else ""]
    style: Style = "bad" if INVALID in note or shaky else "strong" if shipped else ""
    return Cell(name, ", ".join(part for part in notes if part), style)


def number_cell(value: float | None, text: str, note: str = "") -> Cell:
    """`text`, or a dash where there is no value."""
    return Cell(NO_VALUE, style="dim") if value is None else Cell(text, note, order=value)
