"""`compactor doctor`."""

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """Describe this machine, say which parts of Compactor can run here, and how to mend what cannot."""
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor.doctor import examine

    findings = examine()
    if as_json:
        emit_json(findings)
        return
    console = result_console()
    for key, value in findings["environment"].items():
        console.print(f"{key}: {value}", markup=False, highlight=False)
    table = Table(title="extras", title_justify="left")
    for column in ("extra", "state", "missing", "install with"):
        table.add_column(column, overflow="fold")
    for extra, row in findings["extras"].items():
        table.add_row(
            extra, "ready" if not row["missing"] else "missing", ", ".join(row["missing"]), row["install"]
        )
    console.print(table)
    for problem in findings["problems"]:
        console.print(f"problem: {problem}", markup=False)
    if not findings["problems"]:
        console.print("no problems found")
