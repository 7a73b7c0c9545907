"""`compactor plan RECIPE`: what a run would do, or with --sizes what candidate students cost."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compactor.cli.recipe_options import recipe_options, trace_option

if TYPE_CHECKING:
    from rich.table import Table

    from compactor.label_store.diagnosis import Diagnosis
    from compactor.launch.forecast import Forecast
    from compactor.recipe.load import LoadedRecipe
    from compactor.run.planned import Plan
    from compactor.run.traced import Traced
    from compactor.sizes.training_cost import StageCost
    from compactor_runtimes.measure.measurement import ProfileName


@click.command("plan")
@recipe_options
@trace_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan, or with --sizes all samples, as JSON.")
@click.option("--cost", is_flag=True, help="Count parameters and FLOPs of every stage too; trains nothing.")
@click.option("--workers", type=int, metavar="N", help="With --cost: forecast wall time for up to N workers.")
@click.option(
    "--failures", type=float, default=0.0, metavar="P", help="With --workers: an item fails so often."
)
@click.option(
    "--gpu",
    metavar="KIND",
    help="With --workers: forecast the labels alone, by shards that such a GPU made.",
)
@click.option(
    "--emit",
    metavar="KIND[:KEY=VALUE,...]",
    help="Print what an operator submits instead: slurm, rayjob or trainjob.",
)
@click.option("--sizes", is_flag=True, help="Measure candidate students with random weights on this machine.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="MODEL[?OPTION=VALUE&...]",
    help="With --sizes: a model to measure; may be repeated. Default: siblings of the recipe's student.",
)
@click.option(
    "--profile",
    type=click.Choice(["smoke", "quick", "full"]),
    help="With --sizes: how long to measure. Default: smoke, about a second a model.",
)
def command(
    recipe: str,
    overrides: tuple[str, ...],
    runs: Path,
    trace: bool,
    as_json: bool,
    cost: bool,
    workers: int | None,
    failures: float,
    gpu: str | None,
    emit: str | None,
    sizes: bool,
    candidates: tuple[str, ...],
    profile: "ProfileName | None",
) -> None:
    """Show what a run would do: what runs, goes on, is reused, or cannot run on this machine, and why.

    A student that would be trained is exported once with random weights: one that cannot be is refused here.

    With --cost: what training would take, in parameters and in FLOPs of each stage; with --workers also how
    wall time would fall with workers of `--on`, simulated from seconds that are measured here.

    With --emit: the file that runs the recipe on SLURM, or on Kubernetes by KubeRay or Kubeflow.

    With --sizes: choose the student by what it costs, before anything is trained. The student of the recipe,
    its teachers and other candidates are built with random weights, exported as ONNX and measured in turns:
    parameters, FLOPs, file size, latency, memory. A table, a plot and all samples are kept in
    RUNS/NAME/sizes/.

    \b
    compactor plan digits
    compactor plan digits --cost
    compactor plan digits-fkd --cost --workers 16 --failures 0.01
    compactor plan digits-fkd --cost --workers 16 --gpu H100
    compactor plan digits-fkd --emit slurm:nodes=2,gpus=4,partition=long > job.sbatch
    compactor plan digits-fkd --emit trainjob:nodes=2,image=REGISTRY/IMAGE,claim=VOLUME
    compactor plan digits --sizes
    compactor plan my.yaml --sizes --profile quick --candidate timm:resnet18
    compactor plan digits --sizes --candidate 'cifar:resnet14?width=8' --candidate cifar:resnet8
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    import msgspec

    from compactor.cli import emit_json
    from compactor.recipe.load import load_recipe

    _require_effect(sizes, cost=cost, trace=trace, candidates=candidates, profile=profile)
    _require_forecast(cost=cost, workers=workers, failures=failures, gpu=gpu)
    loaded = load_recipe(recipe, overrides)
    if emit is not None:
        _emit(loaded, emit)
        return
    if sizes:
        _sizes(loaded, runs, candidates, profile or "smoke", as_json)
        return
    from compactor.run.plan import make_plan

    plan = make_plan(loaded, runs)
    costs = _costs(plan) if cost else []
    expected = None if workers is None else _forecast(plan, workers, failures, gpu)
    labels = _diagnosed(plan)
    traced = _traced(plan) if trace else None
    if as_json:
        counted = {"costs": msgspec.to_builtins(costs)} if cost else {}
        counted |= {"forecast": msgspec.to_builtins(expected)} if expected else {}
        told = {"trace": msgspec.to_builtins(traced)} if traced else {}
        stores = {"labels": {id: one.to_json() for id, one in labels.items()}} if labels else {}
        emit_json(plan.to_json() | counted | stores | told)
        return
    _show(plan, labels, traced)
    _show_costs(costs)
    if expected is not None:
        _show_forecast(expected, plan)


def _show(plan: "Plan", labels: "dict[str, Diagnosis]", traced: "Traced | None") -> None:
    """Print the steps and what is known of inputs, labels and export."""
    from compactor.cli import result_console

    result_console().print(_plan_table(plan))
    for note in plan.notes:
        result_console().print(f"note: {note}", markup=False, highlight=False)
    for id, diagnosis in labels.items():
        for line in diagnosis.lines():
            result_console().print(f"labels of {id}: {line}", markup=False, highlight=False)
    if traced is not None:
        click.echo(traced.said_of(plan.stages[-1].student.model))


def _show_costs(costs: "list[StageCost]") -> None:
    """Print what was counted, if anything was."""
    from compactor.cli import result_console

    if costs:
        result_console().print(_cost_table(costs))
        if any(one.student_parts or one.teacher_parts for one in costs):
            result_console().print(_parts_table(costs))


def _require_forecast(*, cost: bool, workers: int | None, failures: float, gpu: str | None) -> None:
    """Refuse options of a forecast that would do nothing.

    Raises:
        UsageError: one of them.
    """
    from compactor_runtimes.errors import UsageError

    if workers is not None and not cost:
        raise UsageError("--workers: has no effect without --cost; add --cost or remove it")
    for name, value in (("--failures", failures), ("--gpu", gpu)):
        if value and workers is None:
            raise UsageError(f"{name}: has no effect without --workers; add --workers or remove it")


def _require_effect(
    sizes: bool, *, cost: bool, trace: bool, candidates: tuple[str, ...], profile: "ProfileName | None"
) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: one of them.
    """
    from compactor_runtimes.errors import UsageError

    for option, given in (("--candidate", candidates), ("--profile", profile)):
        if given and not sizes:
            raise UsageError(f"{option}: has no effect without --sizes; add --sizes or remove it")
    if sizes and cost:
        raise UsageError(
            "--cost and --sizes: give one; --sizes counts candidates, --cost the recipe's stages"
        )
    if sizes and not trace:
        raise UsageError("--no-trace: has no effect with --sizes, which exports every candidate; remove it")


def _emit(loaded: "LoadedRecipe", emit: str) -> None:
    """Print a job file."""
    import shlex

    from compactor.launch.job_files import job_file, parse_job

    words = shlex.split(loaded.command())[1:]
    click.echo(job_file(parse_job(emit), loaded.recipe.name, words), nl=False)


def _forecast(plan: "Plan", workers: int, failures: float, gpu: str | None) -> "Forecast":
    """Simulate the plan on workers."""
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.launch.forecast import Wish, forecast
    return forecast(plan, Wish(workers, failures, gpu or ""))


def _show_forecast(found: "Forecast", plan: "Plan") -> None:
    """Print it, and keep a plot beside the recipe's runs."""
    from compactor.cli import result_console
    from compactor.launch.forecast import PLOT, plot_forecast, render_forecast

    for part in render_forecast(found):
        result_console().print(part)
    plot_forecast(found, plan.root / PLOT)
    click.echo(f"plot: {plan.root / PLOT}")


def _plan_table(plan: "Plan") -> "Table":
    """One line a step."""
    from rich.table import Table

    table = Table(title=f"plan of {plan.name}", title_justify="left")
    for column in ("step", "kind", "action", "what", "why"):
        table.add_column(column, overflow="fold")
    for step in plan.steps:
        table.add_row(step.id, step.kind, step.action, step.detail, step.reason)
    return table


def _traced(plan: "Plan") -> "Traced | None":
    """Try the student's export, if a run would."""
    from compactor.cli import progress_reporter
    from compactor.run.traced import require_exportable

    return require_exportable(plan, progress_reporter())


def _diagnosed(plan: "Plan") -> "dict[str, Diagnosis]":
    """Look at the label stores that are there already."""
    from compactor.cli import progress_reporter

    if not any(stage.labels is not None and stage.labels.is_made for stage in plan.stages):
        return {}
    from compactor.run.diagnosed import diagnosed_labels

    return diagnosed_labels(plan, progress_reporter())


def _costs(plan: "Plan") -> "list[StageCost]":
    """Count all stages; their data sets give the shapes."""
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.sizes.training_cost import training_costs
    return training_costs(plan)


def _cost_table(costs: "list[StageCost]") -> "Table":
    """One line a stage."""
    from rich.table import Table

    from compactor_runtimes.units import scaled

    def shown(value: int | None, unit: str) -> str:
        return "not counted" if value is None else scaled(value, unit)

    table = Table(title="cost of training (a multiply-add is 2 FLOP)", title_justify="left")
    table.add_column("stage", overflow="fold")
    for column in ("student", "forward", "teachers", "forward", "training, a sample", "samples", "in all"):
        table.add_column(column, justify="right", overflow="fold")
    for one in costs:
        table.add_row(
            one.stage,
            scaled(one.student_parameters, ""),
            scaled(one.student_flops, "FLOP"),
            shown(one.teacher_parameters, "") if one.teachers else "-",
            shown(one.teacher_flops, "FLOP") if one.teachers else "-",
            shown(one.training_flops, "FLOP"),
            f"{one.samples:,}",
            shown(one.total_flops, "FLOP"),
        )
    return table


def _parts_table(costs: "list[StageCost]") -> "Table":
    """Where the parameters of text encoders are, one line for the student and one for teachers of a stage."""
    from rich.table import Table

    from compactor_runtimes.units import scaled

    table = Table(title="parameters of text encoders", title_justify="left")
    for column in ("stage", "model"):
        table.add_column(column, overflow="fold")
    for column in ("embeddings", "encoder", "heads"):
        table.add_column(column, justify="right")
    for one in costs:
        for model, parts in (
            (f"student {one.student}", one.student_parts),
            (f"teachers {', '.join(one.teachers)}", one.teacher_parts),
        ):
            if parts is not None:
                table.add_row(one.stage, model, *(scaled(parts[part], "") for part in parts))
    return table


def _sizes(
    loaded: "LoadedRecipe", runs: Path, candidates: tuple[str, ...], profile: "ProfileName", as_json: bool
) -> None:
    """Measure, print and keep; Ctrl-C ends it early with what was measured."""
    import msgspec

    from compactor.cli import emit_json, progress_reporter, result_console
    from compactor.sizes import measure_sizes
    from compactor.sizes.ladder import parse_candidate
    from compactor.sizes.results_folder import SizesFiles, sizes_command
    from compactor.sizes.terminal import hint, render_sizes
    from compactor_runtimes.errors import InterruptedRun

    reporter = progress_reporter()
    again = sizes_command(loaded, runs, candidates, profile)
    files = SizesFiles(runs / loaded.recipe.name, reporter)
    found = measure_sizes(
        loaded,
        [parse_candidate(text) for text in candidates],
        profile=profile,
        command=again,
        reporter=reporter,
        save=files.save,
    )
    files.save(found)
    if as_json:
        emit_json(msgspec.to_builtins(found) | {"folder": str(files.folder)})
    else:
        result_console().print(render_sizes(found))
        click.echo(f"kept in: {files.folder}")
        if chosen := hint(found, loaded, runs):
            click.echo(f"choose:  {chosen}")
    files.draw(found)
    if not found.finished:
        raise InterruptedRun(
            f"stopped; what was measured is kept in {files.folder}; start again with: {again}"
        )
