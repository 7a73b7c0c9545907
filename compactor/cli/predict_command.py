"""`compactor predict BUNDLE INPUT...`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compactor_runtimes.predict.answers import Answer


@click.command("predict")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--artifact", help="Which artifact of the bundle; absent: the recommended one.")
@click.option("--runtime", help="What computes it, as ort-cpu or openvino; absent: the artifact's default.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option("--trust", is_flag=True, help="Run the engines in BUNDLE too; an engine is code.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all probabilities.")
def command(
    bundle: Path,
    inputs: tuple[str, ...],
    artifact: str | None,
    runtime: str | None,
    threads: int | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Answer for images or texts with a bundle; needs no torch.

    For a bundle that takes images, INPUT is an image file. For one that takes texts, INPUT is the text
    itself, and - reads one text a line from standard input. A classifier prints input, label and confidence,
    and each slot of a text as name[start:end]=value; an embedding model prints its vectors as JSON. A text of
    more tokens than the model takes is cut, and `truncated` ends its line.

    \b
    compactor predict runs/digits/latest/bundle runs/digits/latest/bundle/golden/*.png
    compactor predict runs/clinc-intents/latest/bundle "turn on the light"
    compactor predict runs/clinc-intents/latest/bundle - < texts.txt
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json
    from compactor_runtimes.predict.model import load

    with load(bundle, artifact=artifact, runtime=runtime, threads=threads, trust=trust) as model:
        takes, decode = model.takes, model.decode
        given = _with_lines(inputs) if takes == "text" else list(inputs)
        answers: Sequence[Answer] = model.predict(given)
    if as_json or (answers and not decode.fits_a_line):
        emit_json(
            [
                {takes: one, **decode.fields(answer), **_whether_cut(takes, answer)}
                for one, answer in zip(given, answers, strict=True)
            ]
        )
        return
    for one, answer in zip(given, answers, strict=True):
        shown = " ".join(one.split()) if takes == "text" else one
        cut = ["truncated"] if answer.truncated else []
        click.echo("\t".join([shown, *decode.cells(answer), *cut]))


def _whether_cut(takes: str, answer: "Answer") -> dict[str, bool]:
    """Whether a text was cut; images have no length."""
    return {"truncated": answer.truncated} if takes == "text" else {}


def _with_lines(inputs: tuple[str, ...]) -> list[str]:
    """Replace each `-` by the lines of standard input."""
    from compactor_runtimes.utf8 import decode_utf8

    given: list[str] = []
    for one in inputs:
        if one == "-":
            content = sys.stdin.buffer.read()
            text = decode_utf8(content, "standard input").replace("\r\n", "\n")
            given.extend(text.removesuffix("\n").split("\n") if text else [])
        else:
            given.append(one)
    return given
