"""Draw the table of variants in a terminal; what became of each one, and why, stands in lines below it."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from compactor_runtimes.report.draw.result_table import subject_table
from compactor_runtimes.report.draw.variants import DECISION_STYLES, times_in, variant_words, variants_table

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Report
    from compactor_runtimes.report.draw.text_tables import Cell

STYLES = {"good": "green", "bad": "red", "warn": "yellow", "dim": "dim", "strong": "bold", "": ""}
# of the eight number columns, broken so that 80 columns hold them all
_HEADINGS = (
    "\nsize",
    "\ncompute",
    "times\nas fast",
    "agree-\nment",
    "points\nlost",
    "largest\ndifference",
)


def render_variants(report: "Report") -> list[RenderableType]:
    """Return the table and a line for each artifact."""
    found = variants_table(report)
    table = subject_table("Variants, against the torch student on the select samples", "\nvariant")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for artifact, status, *numbers, _ in found.rows:
        name, verdict = ((cell.text, STYLES[cell.style]) for cell in (artifact, status))
        table.add_row(Text.assemble(name, "\n", verdict), *(_number(cell) for cell in numbers))
    table.caption = (
        f"{found.headings[4]}, by the extreme block medians; grey is inside the noise{times_in(report)} · "
        "≥ and ≤: one-sided 95% bounds, which the gates judge"
    )
    lines = []
    for subject, decision, reason in variant_words(report):
        verdict = (decision, STYLES[DECISION_STYLES[decision]])
        said = Text.assemble(f"{subject} ", verdict, f": {reason}" if reason else "")
        lines.append(Padding(said, (0, 0, 0, 2)))
    return [table, *lines]


def _number(cell: "Cell") -> Text:
    """The number with its remark below, its parts a line each; an interval stays whole."""
    below = cell.note if cell.note.startswith("[") else cell.note.replace("× ", "×\n").replace(", ", "\n")
    return Text.assemble((cell.text, STYLES[cell.style]), (f"\n{below}" if below else "", "dim"))
