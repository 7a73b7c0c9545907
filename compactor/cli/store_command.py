"""`compactor store ...`: look at a label store, check it, merge its shares, compare a bundle with it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compactor.cli.output_options import JSON, QUIET

if TYPE_CHECKING:
    from compactor.label_store.thresholds import Thresholds
    from compactor.release.agreement import Evaluation

STORE = click.argument("store", type=click.Path(path_type=Path))
SHARE = click.FloatRange(0, 1)


@click.group("store")
def command() -> None:
    """Look at a label store, check it, merge its shares, or compare a bundle with it.

    A label store is what `compactor label` makes: the folder runs/NAME/labels/DIGEST.
    """


@command.command("inspect")
@STORE
@click.option("--low", type=SHARE, help="FerKD: views below are dropped as too hard.")
@click.option("--mid", type=SHARE, help="FerKD: views between low and mid get the softened ground truth.")
@click.option("--top", type=SHARE, help="FerKD: views above are dropped as too easy.")
@click.option(
    "--unit",
    type=click.Choice(["quantiles", "values"]),
    help="What the three are. Default: quantiles, over the training views.",
)
@click.option(
    "--confidence",
    type=click.Choice(["max", "ground-truth"]),
    help="What they cut: the largest probability (default), or that of the ground truth, read from the data.",
)
@click.option(
    "--crops-per-image",
    type=click.IntRange(min=1),
    help="Views that a step takes of each image. Default: 4, or as many as there are.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="How long would be trained: counts how often each image and each view comes up.",
)
@click.option(
    "--data",
    metavar="PATH",
    help="The labelled data: how often the teachers are right, and bins by ground truth. Default: with "
    "--confidence ground-truth the store's name, else no data are read.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw the confidences: DIR/confidence.png, .svg.",
)
@JSON
@QUIET
def inspect(
    store: Path,
    low: float | None,
    mid: float | None,
    top: float | None,
    unit: str | None,
    confidence: str | None,
    crops_per_image: int | None,
    epochs: int | None,
    data: str | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show who labelled what and how, how big it is, and how sure the teachers were (hashes are checked).

    Also what it can teach: how much the teachers have memorised (with --data), how often each image comes up
    (with --epochs), and whether several crops an image, dropping or relabelling can help.

    With a threshold, the bins of FerKD's calibration: how many views would be dropped or relabelled. No
    teacher runs and nothing is changed.

    \b
    compactor store inspect runs/digits-fkd/labels/*
    compactor store inspect STORE --low 0.05 --mid 0.2 --top 0.95
    compactor store inspect STORE --top 0.99 --unit values --plot plots
    compactor store inspect STORE --data cifar10 --epochs 60 --crops-per-image 4
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, progress_reporter, result_console
    from compactor_runtimes.errors import UsageError, needs_extra

    thresholds = _thresholds(low, mid, top, unit, confidence)
    if crops_per_image is not None and thresholds is None and epochs is None:
        raise UsageError(
            "--crops-per-image: has no effect without --epochs or a threshold; add one of them or remove it"
        )
    with needs_extra("train"):
        from compactor.label_store.confidence_plot import plot_confidences
        from compactor.label_store.inspect import inspect_store
        from compactor.label_store.inspect_terminal import render_inspection
    found = inspect_store(
        store,
        thresholds=thresholds,
        views_a_step=crops_per_image,
        epochs=epochs,
        data=data,
        reporter=progress_reporter(quiet=quiet),
    )
    drawn = [] if plot is None else plot_confidences(found, plot)
    if as_json:
        emit_json(found.to_json() | {"plots": [str(path) for path in drawn]})
        return
    result_console().print(render_inspection(found))
    for path in drawn:
        click.echo(f"plot: {path}")
    if found.confidences and not drawn:
        click.echo("plot: add --plot DIR to write confidence.png and confidence.svg there")


@command.command("verify")
@STORE
@JSON
@QUIET
def verify(store: Path, as_json: bool, quiet: bool) -> None:
    """Check every hash and every record; exit code 7 at the first that is wrong.

    Layout, sample ids, class ids, probabilities, and boxes against the header. Reads the store once, in
    chunks, whatever its size.
    """
    from compactor.cli import emit_json, progress_reporter
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.label_store.verify_store import verify_store
    verified = verify_store(store, reporter=progress_reporter(quiet=quiet))
    if as_json:
        emit_json(verified.to_json())
        return
    for line in verified.lines():
        click.echo(line)


@command.command("merge")
@click.argument("target", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@JSON
@QUIET
def merge(target: Path, sources: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Copy the shares that several machines made into TARGET, and finish it if nothing is missing.

    Each SOURCE is a store folder that `compactor label --share I/N` made. What TARGET has already is
    compared and kept, so a merge that was stopped goes on, and further shares can be added later.

    \b
    compactor store merge all machine1/labels/8a93c917627b machine2/labels/8a93c917627b
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json, progress_reporter
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.label_store.merge import merge_stores
    merged = merge_stores(target, list(sources), reporter=progress_reporter(quiet=quiet))
    if as_json:
        emit_json(merged.to_json())
        return
    click.echo(merged.text())


@command.command("agreement")
@STORE
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["report", "select"]),
    default="report",
    show_default=True,
    help="Which evaluation part of the store.",
)
@click.option("--data", metavar="PATH", help="Where the labelled data lie. Default: by the store's name.")
@JSON
@QUIET
def agreement(
    store: Path, bundle: Path, split: "Evaluation", data: str | None, as_json: bool, quiet: bool
) -> None:
    """Tell how often a bundle answers what the teachers said, without a teacher.

    Runs the bundle's default artifact on the samples of the store's evaluation part. The data must be those
    that were labelled.
    """
    from compactor.cli import emit_json, progress_reporter
    from compactor_runtimes.errors import needs_extra

    with needs_extra("train"):
        from compactor.release.agreement import stored_agreement
    found = stored_agreement(store, bundle, split=split, data=data, reporter=progress_reporter(quiet=quiet))
    if as_json:
        emit_json(found.to_json())
        return
    for line in found.lines():
        click.echo(line)


def _thresholds(
    low: float | None,
    mid: float | None,
    top: float | None,
    unit: str | None,
    confidence: str | None,
) -> "Thresholds | None":
    """The thresholds, None if none is given.

    Raises:
        UsageError: an option that means nothing without them, or not low <= mid <= top.
    """
    from compactor.label_store.thresholds import Thresholds
    from compactor_runtimes.errors import UsageError

    if low is None and mid is None and top is None:
        for option, given in {"--unit": unit, "--confidence": confidence}.items():
            if given is not None:
                raise UsageError(
                    f"{option}: has no effect without --low, --mid or --top; add one of them or remove it"
                )
        return None
    chosen = {"unit": unit, "confidence": confidence}
    try:
        return Thresholds(
            low=low,
            mid=mid,
            top=top,
            **{name: value for name, value in chosen.items() if value},  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise UsageError(f"--{error}") from error
