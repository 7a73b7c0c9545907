"""`compactor methods [NAME]`: what a stage can be trained with."""

from typing import TYPE_CHECKING, Any

import click

from compactor.cli.output_options import JSON

if TYPE_CHECKING:
    from compactor.methods.table import MethodRow

PAGES = "docs/methods"


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
        click.echo("one of them, with its options: compactor methods NAME")
        return
    if name not in METHODS:
        raise UsageError(f"methods {name!r}: there is no such method; {nearest(name, METHODS)}")
    if as_json:
        emit_json(_described(name))
        return
    _print_one(method_row(name))


def _print_table(rows: "list[MethodRow]") -> None:
    from rich.table import Table

    from compactor.cli import result_console

    table = Table()
    for column in ("method", "what it does", "labels", "teachers", "unlabelled data", "extra cost", "source"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.name, row.does, row.labels, row.teachers, row.unlabelled, row.cost, row.source)
    result_console().print(table)


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
