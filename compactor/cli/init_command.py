"""`compactor init TEACHER STUDENT DATA`."""

from pathlib import Path

import click


@click.command("init")
@click.argument("teacher")
@click.argument("student")
@click.argument("data")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("recipe.yaml"),
    show_default=True,
    help="Where the recipe is written.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing recipe.")
@click.option("--name", help="Name of the recipe; absent: made of data and student.")
@click.option("--task", help="Absent: guessed from the data.")
@click.option("--text-column", metavar="COLUMN", help="Column of texts; absent: guessed, as the others are.")
@click.option("--label-column", metavar="COLUMN", help="Column of labels, or - for unlabelled.")
@click.option("--image-column", metavar="COLUMN", help="Column of encoded images or of paths to images.")
@click.option("--image-size", type=click.IntRange(min=1), metavar="N", help="Side in pixels that images get.")
@click.option("--classes", metavar="N|A,B,...", help="Number or names of classes where nothing tells them.")
@click.option("--tokenizer", metavar="WHERE", help="tokenizer.json where no model brings one.")
@click.option("--report", metavar="DATA", help="Data of its own for the final report.")
@click.option("--teacher-weights", metavar="FILE", help="Safetensors file, or pretrained.")
@click.option("--student-weights", metavar="FILE", help="Safetensors file, or pretrained.")
@click.option("--method", metavar="NAME", help="How the student learns; see `compactor methods`.")
@click.option("--no-training", is_flag=True, help="The student has its weights: export, verify, measure.")
def command(
    teacher: str,
    student: str,
    data: str,
    output: Path,
    force: bool,
    name: str | None,
    task: str | None,
    text_column: str | None,
    label_column: str | None,
    image_column: str | None,
    image_size: int | None,
    classes: str | None,
    tokenizer: str | None,
    report: str | None,
    teacher_weights: str | None,
    student_weights: str | None,
    method: str | None,
    no_training: bool,
) -> None:
    """Look at models and data and write a commented recipe for them, ready for `compactor run`.

    TEACHER and STUDENT are model names: cifar:resnet20, timm:NAME, hf:FOLDER_OR_ID,
    package:IMPORT/FOLDER or module:PACKAGE.MODULE:ATTRIBUTE, each with options (?width=8) and weights
    (@FILE.safetensors or @pretrained). Several teachers are joined by +; - is no teacher. A teacher without
    fitting weights is trained first. DATA is a folder of images (by class, or unlabelled), a table (.parquet,
    .csv, .tsv, .jsonl) or a folder of tables, a named data set, or a hub id.

    \b
    compactor init timm:resnet50@teacher.safetensors timm:mobilenetv3_small_100 photos/
    compactor init cifar:resnet56 cifar:resnet8 cifar10 -o cifar.yaml
    compactor init hf:./my-bert 'hf:./my-bert?layers=[1,3,5]' tickets.csv --label-column topic
    compactor init - cifar:resnet8 digits
    compactor init cifar:resnet20 cifar:resnet8 digits --method fkd
    compactor init - module:my.nets:small photos/ --student-weights small.safetensors --no-training
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.files import write_whole

    if output.exists() and not force:
        raise UsageError(
            f"recipe {output}: exists already; write elsewhere with -o, or overwrite with --force"
        )
    if not output.parent.is_dir():
        raise UsageError(f"recipe {output}: folder {output.parent} does not exist; create it first")
    from compactor.propose import propose

    proposal = propose(
        teacher,
        student,
        data,
        task=task,
        text_column=text_column,
        label_column=label_column,
        image_column=image_column,
        image_size=image_size,
        classes=_classes(classes),
        tokenizer=tokenizer,
        report=report,
        teacher_weights=teacher_weights,
        student_weights=student_weights,
        training=not no_training,
        method=method,
        name=name,
        base=output.parent,
    )
    write_whole(output, proposal.yaml.encode())
    for note in proposal.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"recipe: {output}")
    click.echo(f"next:   compactor run {output} --smoke, then without --smoke")


def _classes(text: str | None) -> list[str] | int | None:
    """Read a number, or names with commas between them."""
    if text is None or not text.strip():
        return None
    return int(text) if text.strip().isdecimal() else [name.strip() for name in text.split(",")]
