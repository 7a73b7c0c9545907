"""Draw a report as compact Markdown, for a pull request or a terminal."""

import html
import re
from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.recommend import in_words
from compactor_runtimes.report.draw.cost import cost_table, latency_table
from compactor_runtimes.report.draw.labels import labels_table
from compactor_runtimes.report.draw.rejects import rejects_table
from compactor_runtimes.report.draw.scores import scores_table
from compactor_runtimes.report.draw.text_tables import (
    Cell,
    Table,
    checks_table,
    class_table,
    confused_table,
    main_subject,
    truth_table,
)
from compactor_runtimes.report.draw.variants import variant_words, variants_table
from compactor_runtimes.report.format import is_unlabelled, machine, marked, overridden_notes

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report

MOST_CLASSES = 10
MOST_PAIRS = 10
MOST_EXAMPLES = 8
MOST_LETTERS = 160


def render_markdown(report: "Report", *, note: str = "") -> str:
    """Return the page; `note` is a last line about the page itself."""
    parts = [f"# {markdown_text(report.title)}", f"Recipe {markdown_text(report.recipe)}, {report.task}"]
    parts.append(f"**Recommendation:** {markdown_text(report.recommendation or 'none was made')}")
    if is_unlabelled(report):
        parts.append("**No sample had a label: every score is agreement with the teachers' answers.**")
    parts += [f"**{markdown_text(note)}**" for note in overridden_notes(report)]
    parts += ["## Truth", markdown_table(truth_table(report)) if report.accuracy else "Not measured."]
    if report.scores:
        parts += ["## Intent and slots", markdown_table(scores_table(report))]
    if report.labels:
        parts += ["## Labels", markdown_table(labels_table(report), most=MOST_CLASSES)]
    if report.rejects:
        parts += ["## Rejected answers", markdown_table(rejects_table(report))]
    parts += ["## What each step changed", _steps(report) if report.paired else "Not measured."]
    parts += ["## Variants"]
    parts += (
        [markdown_table(variants_table(report)), _variants(report)]
        if report.artifacts
        else ["No artifact was exported."]
    )
    if report.measurements:
        parts += ["## Latency", markdown_table(latency_table(report))]
        parts += ["## Throughput and memory", markdown_table(cost_table(report))]
    else:
        parts += ["## Latency", "Not measured."]
    if report.classes:
        parts += [
            "## Classes",
            markdown_table(class_table(report.classes, main_subject(report)), most=MOST_CLASSES),
        ]
    if report.confusion is not None:
        pairs = confused_table(report.confusion, MOST_PAIRS)
        parts.append(f"## Confusion of {markdown_text(report.confusion.subject)}")
        parts.append(markdown_table(pairs) if pairs.rows else "No answer was wrong.")
    if report.examples:
        parts += ["## Where the student is wrong and the teacher right", _examples(report)]
    parts += ["## Gates", _gates(report)]
    if report.notes:
        notes = "\n".join(f"- {markdown_text(note)}" for note in report.notes)
        parts += ["## How the inputs were read", notes]
    parts += ["## Provenance", markdown_text(machine(report.environment)), _provenance(report)]
    parts += [f"_{markdown_text(note)}_"] if note else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _gates(report: "Report") -> str:
    return (
        markdown_table(checks_table(report.gates))
        if report.gates
        else "Gates against the teacher: none judged."
    )


def _steps(report: "Report") -> str:
    return "\n".join(
        f"- {markdown_text(f'{row.step}, {row.a} → {marked(row.b, report)}: {in_words(row)}')}"
        for row in report.paired
    )


def _variants(report: "Report") -> str:
    return "\n".join(
        f"- {markdown_text(name)}: **{decision}**{': ' if reason else ''}{markdown_text(reason)}"
        for name, decision, reason in variant_words(report)
    )


def _examples(report: "Report") -> str:
    lines = []
    for one in report.examples[:MOST_EXAMPLES]:
        shown = f"sample {one.id}" if one.text is None else f"“{markdown_text(_cut(one.text))}”"
        lines.append(
            f"- {shown}: truth {markdown_text(one.truth)}, student {markdown_text(one.student)} "
            f"({100 * one.student_confidence:.0f}%), teacher {markdown_text(one.teacher)} "
            f"({100 * one.teacher_confidence:.0f}%)"
        )
    if len(report.examples) > MOST_EXAMPLES:
        lines.append(f"- {len(report.examples) - MOST_EXAMPLES} more in report.json")
    return "\n".join(lines)


def _provenance(report: "Report") -> str:
    known = {"report samples": report.report_digest} | report.provenance
    return "\n".join(
        f"- {markdown_text(name)}: {markdown_text(str(value))}"
        for name, value in known.items()
        if value and not isinstance(value, dict | list)
    )


def markdown_table(table: Table, *, most: int | None = None) -> str:
    """Draw a table; of more than `most` rows the count of the rest is told."""
    marks = [":--" if number in table.text_columns else "--:" for number in range(len(table.headings))]
    lines = [_row([markdown_text(heading) for heading in table.headings]), _row(marks)]
    lines += [_row([_cell(cell) for cell in row]) for row in table.rows[:most]]
    notes = [markdown_text(note) for note in table.notes]
    if most is not None and len(table.rows) > most:
        notes.append(f"{len(table.rows) - most} more rows in report.json.")
    return "\n\n".join(["\n".join(lines), *notes])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    note = cell.note if cell.note.startswith("[") or not cell.note else f"({cell.note})"
    text = markdown_text(f"{cell.text} {note}")
    return f"**{text}**" if cell.style in ("good", "bad", "strong") and text else text


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def markdown_text(text: str) -> str:
    """Escape what Markdown, a table or HTML would take for its own; one line."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)
