"""`compactor methods [NAME]`: what a stage can be trained with."""

from typing import TYPE_CHECKING, Any

import click

from compactor.cli.output_options import JSON

if TYPE_CHECKING:
    from compactor.methods.table import MethodRow

PAGES = "docs/methods"
SHOWN = (
    ("method", None),
    ("labels", None),
    ("teachers", None),
    ("what it does", 3),
    ("extra cost", 2),
    ("source", 2),
)
ALWAYS_SHOWN, WIDE = 4, 140  # columns, characters
SHORT = {
    "needed": "yes",
    "for a share of the loss": "in part",
    "not read": "no",
    "none": "none",
    "live": "live",
    "live or a label store": "live, store",
    "a label store": "store",
}


@click.command("methods")
@click.argument("name", required=False)
@JSON
def command(name: str | None, as_json: bool) -> None:
    """List the methods that a stage can name: what each does, needs and costs; with NAME, its options too.

    Labels are the data's. Teachers are asked live, in every step, or once through a label store. Which
    method fits your data is measured, not known: see `compactor recommend`.

    \b
    compactor methods
    compactor methods kd
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    import msgspec

    from compactor.cli import emit_json
    from compactor.methods import METHODS
    from compactor.methods.table import method_row, method_rows
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.tables import nearest

    if name is None:
        rows = method_rows()
        if as_json:
            emit_json(msgspec.to_builtins(rows))
            return
        _print_table(rows)
        click.echo("labels in part: samples without labels teach through the rest of the loss")
        click.echo("one of them, with its cost, source and options: compactor methods NAME")
        return
    if name not in METHODS:
        raise UsageError(f"methods {name!r}: there is no such method; {nearest(name, METHODS)}")
    if as_json:
        emit_json(_described(name))
        return
    _print_one(method_row(name))


def _print_table(rows: "list[MethodRow]") -> None:
    """A row each, with what it costs and where it comes from where the screen is wide."""
    from rich.table import Table

    from compactor.cli import result_console

    console = result_console()
    is_wide = console.width >= WIDE
    table = Table(expand=is_wide)
    for column, ratio in SHOWN[: len(SHOWN) if is_wide else ALWAYS_SHOWN]:
        table.add_column(column, overflow="fold", ratio=ratio)
    for row in rows:
        cells = [row.name, SHORT[row.labels], SHORT[row.teachers], row.does, row.cost, row.source]
        table.add_row(*cells[: len(table.columns)])
    console.print(table)


def _described(name: str) -> dict[str, Any]:
    """One method with its options and the lines of a stage, as plain data."""
    import dataclasses

    import msgspec

    from compactor.methods import method_named
    from compactor.methods.table import method_row, stage_yaml
    from compactor.options import inner_records, keys_of, prose_of

    record = method_named(name, "methods").options
    records = {one.__name__: one for one in (record, *inner_records(record))}
    row: dict[str, Any] = msgspec.to_builtins(method_row(name))
    return row | {
        "options": {
            title: {"doc": prose_of(one), "keys": [dataclasses.asdict(key) for key in keys_of(one)]}
            for title, one in records.items()
        },
        "stage": stage_yaml(name),
    }


def _print_one(row: "MethodRow") -> None:
    """The method's line, the docstring and keys of its options, and the lines of a stage."""
    from rich.table import Table

    from compactor.cli import result_console

    console, described = result_console(), _described(row.name)
    click.echo(f"{row.name}: {row.does}")
    click.echo(f"labels:          {row.labels}")
    click.echo(f"teachers:        {row.teachers}")
    click.echo(f"unlabelled data: {row.unlabelled}")
    click.echo(f"a step costs:    {row.cost}, beside the student's own")
    if row.source:
        click.echo(f"source:          {row.source}")
    click.echo(f"page:            {PAGES}/{row.page}")
    for title, one in described["options"].items():
        click.echo(f"\n{title if title == 'Options' else f'Options.{title}'}: {one['doc']}".rstrip())
        if not one["keys"]:
            continue
        has_meaning = any(key["meaning"] for key in one["keys"])
        table = Table()
        for column in ("option", "type", "default", *(["meaning"] if has_meaning else [])):
            table.add_column(column, overflow="fold")
        for key in one["keys"]:
            cells = [key["name"], key["kind"], key["default"]]
            table.add_row(*cells, *([key["meaning"]] if has_meaning else []))
        console.print(table)
    click.echo(f"\nin a recipe:\n{described['stage']}")
