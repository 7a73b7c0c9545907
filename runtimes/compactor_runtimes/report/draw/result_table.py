"""The one look of all result tables in a terminal."""

from rich import box
from rich.table import Table
from rich.text import Text


def result_table(title: str = "") -> Table:
    """Start a table without frame; columns are added by the caller."""
    return Table(
        title=Text(title) if title else None,  # as a string, brackets would be read as markup
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )


def subject_table(title: str, heading: str) -> Table:
    """Start a table whose first column is the one that gives way on a narrow terminal."""
    table = result_table(title)
    table.add_column(heading, min_width=10, overflow="fold")
    return table
