"""`compactor predict BUNDLE IMAGE...`."""

from pathlib import Path

import click


@click.command("predict")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--artifact", help="Which artifact of the bundle; absent: the recommended one.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all probabilities.")
def command(
    bundle: Path, images: tuple[Path, ...], artifact: str | None, threads: int | None, as_json: bool
) -> None:
    """Classify image files with a bundle; needs no torch.

    \b
    compactor predict runs/digits/latest/bundle runs/digits/latest/bundle/golden/*.png
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json
    from compactor_runtimes.model import load

    with load(bundle, artifact=artifact, threads=threads) as model:
        predictions = model.predict(list(images))
    if as_json:
        emit_json(
            [
                {
                    "image": str(image),
                    "label": found.label,
                    "index": found.index,
                    "confidence": found.confidence,
                    "probabilities": found.probabilities.tolist(),
                }
                for image, found in zip(images, predictions, strict=True)
            ]
        )
        return
    for image, found in zip(images, predictions, strict=True):
        click.echo(f"{image}\t{found.label}\t{found.confidence:.4f}")
