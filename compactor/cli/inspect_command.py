"""`compactor inspect BUNDLE`."""

from pathlib import Path

import click


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON.")
def command(bundle: Path, as_json: bool) -> None:
    """Show what is in a bundle: interface, artifacts, metrics, licences (hashes are checked)."""
    import msgspec
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.bundle import open_bundle

    manifest = open_bundle(bundle).manifest
    if as_json:
        emit_json(msgspec.to_builtins(manifest))
        return
    console = result_console()
    console.print(f"[bold]{manifest.name}[/bold], {manifest.task}, schema {manifest.schema_version}")
    for direction, ports in (("input", manifest.main.inputs), ("output", manifest.main.outputs)):
        for port in ports:
            console.print(f"{direction} {port.name}: {port.dtype} {port.axes} ({port.role})", markup=False)
    for name, labels in manifest.labels.items():
        shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        console.print(f"labels {name}: {len(labels)} ({shown})", markup=False)
    table = Table(title="artifacts", title_justify="left")
    for column in ("name", "status", "bytes", "limit", "checks", "reason"):
        table.add_column(column, overflow="fold")
    for artifact in manifest.main.artifacts:
        passed = sum(check.passed for check in artifact.checks)
        limits = ", ".join(f"{name} {limit:.3g}" for name, limit in artifact.limits.items())
        size = f"{sum(entry.bytes for entry in artifact.files):,}"
        star = " *" if artifact.name == manifest.default_artifact else ""
        table.add_row(
            artifact.name + star,
            artifact.status,
            size,
            limits,
            f"{passed}/{len(artifact.checks)}",
            artifact.reason,
        )
    console.print(table)
    for subject, metric in manifest.metrics.items():
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in metric.items()
        )
        console.print(f"{subject}: {shown}", markup=False, highlight=False)
    for what, licence in manifest.licences.items():
        console.print(f"licence of {what}: {licence}", markup=False, highlight=False)
