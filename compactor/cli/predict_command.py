"""`compactor predict BUNDLE INPUT...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compactor_runtimes.postprocess import Answer


@click.command("predict")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--artifact", help="Which artifact of the bundle; absent: the recommended one.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all probabilities.")
def command(
    bundle: Path, inputs: tuple[str, ...], artifact: str | None, threads: int | None, as_json: bool
) -> None:
    """Answer for images or texts with a bundle; needs no torch.

    For a bundle that takes images, INPUT is an image file. For one that takes texts, INPUT is the text
    itself, and - reads one text a line from standard input. A classifier prints input, label and confidence;
    an embedding model prints its vectors as JSON.

    \b
    compactor predict runs/digits/latest/bundle runs/digits/latest/bundle/golden/*.png
    compactor predict runs/clinc-intents/latest/bundle "turn on the light"
    compactor predict runs/clinc-intents/latest/bundle - < texts.txt
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json
    from compactor_runtimes.model import load
    from compactor_runtimes.postprocess import Embedding

    with load(bundle, artifact=artifact, threads=threads) as model:
        takes = model.takes
        given = _with_lines(inputs) if takes == "text" else list(inputs)
        answers: Sequence[Answer] = model.predict(given)
    if as_json or any(isinstance(answer, Embedding) for answer in answers):
        emit_json([{takes: one, **_fields(answer)} for one, answer in zip(given, answers, strict=True)])
        return
    for one, answer in zip(given, answers, strict=True):
        assert not isinstance(answer, Embedding)
        shown = " ".join(one.split()) if takes == "text" else one  # a text of several lines stays one line
        click.echo(f"{shown}\t{answer.label}\t{answer.confidence:.4f}")


def _with_lines(inputs: tuple[str, ...]) -> list[str]:
    """Replace each `-` by the lines of standard input."""
    given: list[str] = []
    for one in inputs:
        if one == "-":
            with click.open_file("-", encoding="utf-8") as lines:
                given.extend(line.rstrip("\n") for line in lines)
        else:
            given.append(one)
    return given


def _fields(answer: "Answer") -> dict[str, Any]:
    from compactor_runtimes.postprocess import Prediction

    if isinstance(answer, Prediction):
        return {
            "label": answer.label,
            "index": answer.index,
            "confidence": answer.confidence,
            "probabilities": answer.probabilities.tolist(),
        }
    return {"embedding": answer.vector.tolist()}
