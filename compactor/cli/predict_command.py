"""`compactor predict BUNDLE INPUT...`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compactor.cli.input_options import FORMATS, LIMITS
from compactor_runtimes.errors import InputError, UsageError

if TYPE_CHECKING:
    from compactor_runtimes.predict.answers import Answer
    from compactor_runtimes.predict.model import Model


@click.command("predict")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--artifact", help="Which artifact of the bundle; absent: the recommended one.")
@click.option("--runtime", help="What computes it, as ort-cpu or openvino; absent: the artifact's default.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option("--trust", is_flag=True, help="Run the engines in BUNDLE too; an engine is code.")
@FORMATS
@LIMITS
@click.option("--skip-bad", is_flag=True, help="Go on after an input that cannot be read; exit code 2 then.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all probabilities.")
def command(
    bundle: Path,
    inputs: tuple[str, ...],
    artifact: str | None,
    runtime: str | None,
    threads: int | None,
    trust: bool,
    formats: tuple[str, ...],
    limits: tuple[str, ...],
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Answer for images or texts with a bundle; needs no torch.

    For a bundle that takes images, INPUT is an image file, or a folder, whose images are read at any depth,
    in the order of their names. For one that takes texts, INPUT is the text itself, and - reads one text a
    line from standard input. A classifier prints input, label and confidence, `rejected` where the bundle has
    a threshold and the answer is not sure enough, and each slot of a text as name[start:end]=value; where any
    number of labels may be true, each that reaches its threshold with its probability, or a dash; an
    embedding model prints its vectors as JSON. A text of more tokens than the model takes is cut, and
    `truncated` ends its line.

    Images are read as PNG, JPEG or WebP; others are asked for with --format, because every more reader is one
    more that sees what others send. An input beyond --limit is refused before it takes memory or time.

    An input that cannot be read stops the command, which names it. With --skip-bad it is named on standard
    error (with --json as an entry with "error"), the others are answered, and the exit code is 2.

    \b
    compactor predict runs/digits/latest/bundle runs/digits/latest/bundle/golden/*.png
    compactor predict runs/clinc-intents/latest/bundle "turn on the light"
    compactor predict runs/clinc-intents/latest/bundle - < texts.txt
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json
    from compactor_runtimes.predict.limits import limits_from
    from compactor_runtimes.predict.loading import load

    with load(
        bundle,
        artifact=artifact,
        runtime=runtime,
        threads=threads,
        trust=trust,
        limits=limits_from(limits),
        formats=formats,
    ) as model:
        takes, decode = model.takes, model.decode
        given = _with_lines(inputs) if takes == "text" else _with_files(inputs)
        answers = _answers(model, given, skip_bad=skip_bad)
    answered = [
        (one, answer) for one, answer in zip(given, answers, strict=True) if not isinstance(answer, str)
    ]
    if as_json or (answered and not decode.fits_a_line):
        emit_json(
            [
                {takes: one, **({"error": answer} if isinstance(answer, str) else _fields(model, answer))}
                for one, answer in zip(given, answers, strict=True)
            ]
        )
    else:
        for one, found in answered:
            shown = " ".join(one.split()) if takes == "text" else one
            cut = ["truncated"] if found.truncated else []
            click.echo("\t".join([shown, *decode.cells(found), *cut]))
    if len(answered) < len(given):
        for index, answer in enumerate(answers):
            if isinstance(answer, str):
                click.echo(f"skipped: input number {index} (from 0): {' '.join(answer.split())}", err=True)
        click.echo(f"{len(given) - len(answered):,} of {len(given):,} inputs skipped", err=True)
        click.get_current_context().exit(UsageError.exit_code)


def _fields(model: "Model", answer: "Answer") -> dict[str, Any]:
    """All of an answer, and whether a text was cut; images have no length."""
    said = answer.to_dict()
    return said if model.takes == "text" else {name: one for name, one in said.items() if name != "truncated"}


def _answers(model: "Model", given: list[str], *, skip_bad: bool) -> "list[Answer | str]":
    """Answer all inputs; with `skip_bad` a bad one's place holds what is wrong with it."""
    try:
        answers = model.predict(given, on_error="return" if skip_bad else "raise")
    except InputError as error:
        if len(given) == 1:
            raise UsageError(error.reason) from error
        raise
    return [one.reason if isinstance(one, InputError) else one for one in answers]


def _with_files(inputs: tuple[str, ...]) -> list[str]:
    """Replace each folder by its images, and say on standard error how many these are and what is no image.

    Raises:
        UsageError: a folder without an image, or one that cannot be read.
    """
    from compactor.data.folder_contents import contents_of
    from compactor_runtimes.predict.image_formats import READ

    given: list[str] = []
    for one in inputs:
        if not Path(one).is_dir():
            given.append(one)
            continue
        found = contents_of(Path(one))
        if not found.images:
            raise UsageError(
                f"{one}: holds no image ({READ}){found.instead()}; give image files or a folder of them"
            )
        left_out = f", {len(found.others):,} other files left out" if found.others else ""
        hidden = f", {found.hidden_images:,} hidden images left out" if found.hidden_images else ""
        click.echo(f"{one}: {len(found.images):,} images{left_out}{hidden}", err=True)
        given.extend(map(str, found.images))
    return given


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
