"""`compactor compare A B`."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("compare")
@click.argument("paths", nargs=-1, required=True, metavar="A B ...", type=click.Path(path_type=Path))
@click.option("--across-machines", is_flag=True, help="Compare accuracy although the machines differ.")
@click.option("--across-plans", is_flag=True, help="Compare accuracy although the measurement plans differ.")
@JSON
def command(paths: tuple[Path, ...], across_machines: bool, across_plans: bool, as_json: bool) -> None:
    """Compare what two or more runs or bundles ship, each against the first.

    Each is a run folder, a bundle, a recipe's folder (its latest run), or the folder of a run with --seeds,
    which counts with the mean over its seeds. Accuracy is compared sample by sample (bootstrap interval,
    McNemar's test), time by the medians of the measured blocks. What is inside the noise is called noise.

    Refused: other report samples, always; another machine or another measurement plan, unless you allow it.
    Then costs are shown and marked, but no ratio of them is given. Needs no torch.

    \b
    compactor compare runs/digits/20260101-120000 runs/digits/latest
    compactor compare old/bundle new/bundle newest/bundle
    compactor compare here/bundle there/bundle --across-machines
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    import msgspec

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.compare import compare, render_comparison

    comparison = compare(paths, across_machines=across_machines, across_plans=across_plans)
    if as_json:
        emit_json(msgspec.to_builtins(comparison))
        return
    result_console().print(render_comparison(comparison))
