"""`compactor doctor`."""

from pathlib import Path
from typing import Any

import click

from compactor.cli.output_options import JSON


@click.command("doctor")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--gpu", is_flag=True, help="Build TensorRT engines on this machine's NVIDIA GPU and check them."
)
@click.option("--trust", is_flag=True, help="With --gpu: run the engines in BUNDLE too; an engine is code.")
@JSON
def command(bundle: Path | None, gpu: bool, trust: bool, as_json: bool) -> None:
    """Describe this machine, say which parts of Compactor can run here, and how to mend what cannot.

    With --gpu, check TensorRT on the NVIDIA GPU of this machine: build an engine from each graph of BUNDLE
    (or from a tiny one), run the golden cases beside ONNX Runtime, count the layers of each precision and
    time it. Exit code 3 when numbers differ, 6 when a step could not run; such a step is never passed.
    """
    if gpu:
        _check_gpu(bundle, trust=trust, as_json=as_json)
        return
    for name, given in (("BUNDLE", bundle), ("--trust", trust)):
        if given:
            raise click.UsageError(f"{name} has no effect without --gpu; add --gpu or remove it")
    _describe(as_json)


def _check_gpu(bundle: Path | None, *, trust: bool, as_json: bool) -> None:
    import msgspec
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor.gpu.check import check_gpu

    def tell(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    report = check_gpu(bundle, trust=trust, tell=tell)
    error = report.error()
    if as_json:
        emit_json({**msgspec.to_builtins(report), "passed": report.passed, "error": error and str(error)})
        if error is not None:
            click.get_current_context().exit(error.exit_code)  # one document is printed, not two
        return
    table = Table(title=f"GPU: {report.gpu or 'none'}", title_justify="left")
    for column in ("engine", "step", "verdict", "detail"):
        table.add_column(column, overflow="fold")
    for step in report.steps:
        table.add_row(step.subject, step.step, step.status, step.detail)
    result_console().print(table)
    if error is not None:
        raise error


def _describe(as_json: bool) -> None:
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor.doctor import examine

    findings: dict[str, Any] = examine()
    if as_json:
        emit_json(findings)
        return
    console = result_console()
    for key, value in findings["environment"].items():
        console.print(f"{key}: {value}")
    table = Table(title="extras", title_justify="left")
    for column in ("extra", "state", "missing", "install with"):
        table.add_column(column, overflow="fold")
    for extra, row in findings["extras"].items():
        table.add_row(
            extra, "ready" if not row["missing"] else "missing", ", ".join(row["missing"]), row["install"]
        )
    console.print(table)
    runtimes = Table(title="runtimes", title_justify="left")
    for column in ("runtime", "state", "on what, or why not"):
        runtimes.add_column(column, overflow="fold")
    for runtime, row in findings["runtimes"].items():
        runtimes.add_row(runtime, "usable" if row["usable"] else "not here", row["detail"])
    console.print(runtimes)
    for problem in findings["problems"]:
        console.print(f"problem: {problem}")
    if not findings["problems"]:
        console.print("no problems found")
