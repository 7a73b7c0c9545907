"""`compactor compare A B`."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("compare")
@click.argument("paths", nargs=-1, required=True, metavar="A B ...", type=click.Path(path_type=Path))
@click.option("--across-machines", is_flag=True, help="Compare accuracy although the machines differ.")
@click.option("--across-plans", is_flag=True, help="Compare accuracy although the measurement plans differ.")
@click.option("--fail", multiple=True, metavar="GATE", help="Fail on a change beyond this; more than once.")
@click.option("--allow-undecided", is_flag=True, help="Pass although a gate could not be decided.")
@click.option("--markdown", metavar="FILE", help="Write a summary for a CI job; - is standard output.")
@click.option(
    "--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the gates as JUnit XML."
)
@JSON
def command(
    paths: tuple[Path, ...],
    across_machines: bool,
    across_plans: bool,
    fail: tuple[str, ...],
    allow_undecided: bool,
    markdown: str | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Compare what two or more runs or bundles ship, or profiles of a machine, each with the first.

    Each is a run folder, a bundle, a recipe's folder (its latest run), or the folder of a run with --seeds,
    which counts with the mean over its seeds. Accuracy is compared sample by sample (bootstrap interval,
    McNemar's test), time by the medians of the measured blocks. What is inside the noise is called noise.

    Or each is a profile that `compactor measure` wrote, its folder or its profile.json: subjects of the same
    name are compared, or those that are named as PROFILE#NAME, in one profile or in two.

    Refused: other report samples, always; another machine or another measurement plan, unless you allow it.
    Then costs are shown and marked, but no ratio of them is given. Needs no torch.

    A GATE is FIGURE, > or <, and a signed change: in percent, or in the figure's unit (ms, MB, points).
    Figures: median p50 p90 p95 p99 p99.9 throughput cpu, with end-to-end. or cold-start. and offline. before
    them; load rss pss size accuracy agreement. A gate is decided where the whole interval of the change lies
    on one side of its limit. What is undecided, INVALID or missing has not passed. Exit code 4 where accuracy
    or agreement has not passed, else 5.

    \b
    compactor compare runs/digits/20260101-120000 runs/digits/latest
    compactor compare old/bundle new/bundle newest/bundle
    compactor compare here/bundle there/bundle --across-machines
    compactor compare old new --fail "p90>+5%" --fail "size>+0" --junit gates.xml
    compactor compare "new#fp32 @ ort-cpu" "new#int8 @ ort-cpu" --fail "median>-20%"
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    import msgspec

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.compare import (
        compare,
        comparison_markdown,
        gate_error,
        junit_xml,
        parse_gate,
        render_comparison,
    )
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.files import write_whole

    gates = [parse_gate(text) for text in fail]
    for option, given in (("--junit", junit is not None), ("--allow-undecided", allow_undecided)):
        if given and not gates:
            raise UsageError(f'{option}: there is no gate; give one, as in --fail "p90>+5%"')
    if as_json and markdown == "-":
        raise UsageError("--markdown -: --json takes standard output; give a file, or one of them alone")
    comparison = compare(paths, across_machines=across_machines, across_plans=across_plans, gates=gates)
    summary = comparison_markdown(comparison, allow_undecided=allow_undecided)
    if markdown not in (None, "-"):
        write_whole(Path(markdown), summary.encode())
    if junit is not None:
        write_whole(junit, junit_xml(comparison, allow_undecided=allow_undecided))
    if as_json:
        emit_json(msgspec.to_builtins(comparison))
    elif markdown == "-":
        click.echo(summary, nl=False)
    else:
        result_console().print(render_comparison(comparison))
    error = gate_error(comparison.gates, allow_undecided=allow_undecided)
    if error is not None:  # said here: the one JSON document holds the gates already
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        click.get_current_context().exit(error.exit_code)
