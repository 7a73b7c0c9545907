"""`compactor verify BUNDLE`."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--runtime", help="What runs every artifact that it can; absent: each artifact's default.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option("--trust", is_flag=True, help="Run the engines in BUNDLE too; an engine is code.")
@JSON
def command(bundle: Path, runtime: str | None, threads: int | None, trust: bool, as_json: bool) -> None:
    """Re-run a bundle's golden cases on this machine, without torch and without a network.

    Checks the hash of every file, the preprocessing from the raw inputs, the numbers of every artifact
    against the limits in the manifest, and the decoded results. Exit code 3 when numbers differ, 7 when
    files are damaged.
    """
    import msgspec
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.golden.verify import verify_bundle

    result = verify_bundle(bundle, runtime=runtime, threads=threads, trust=trust)
    if as_json:
        emit_json({**msgspec.to_builtins(result), "passed": result.passed})
    else:
        table = Table(title=f"verify {result.name}", title_justify="left")
        for column in ("artifact", "check", "verdict", "value", "limit", "n", "detail"):
            table.add_column(column, overflow="fold")
        for row in result.rows:
            value = "" if row.value is None else f"{row.value:.3g}"
            limit = "" if row.limit is None else f"{row.limit:.3g}"
            verdict = "passed" if row.passed else "FAILED"
            table.add_row(row.artifact, row.check, verdict, value, limit, str(row.n or ""), row.detail)
        result_console().print(table)
        for name in result.not_run:
            reason = result.reasons.get(name)
            click.echo(f"not run: {name} ({reason})" if reason else f"not run: {name}")
    result.raise_for_gate()
