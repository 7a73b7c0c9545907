"""What the data are: where they lie, their task, their columns, and what a survey finds in them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from compactor.data.spec import DataSpec
from compactor.locate import locate, locate_model
from compactor.propose.columns import (
    Column,
    image_column,
    label_column,
    peek,
    tag_column,
    text_column,
    words_column,
)
from compactor.propose.paths import path_in_recipe
from compactor.records import IMAGES, TEXTS, VECTORS, head_at, heads_of
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.data.survey import Survey

UNLABELLED = "-"
NO_COLUMN = "(none)"  # written where a column has the default's name but is not to be read
TOKEN_STEPS = (32, 64, 128, 256, 512)
TOKENS_A_WORD = 1.4  # where no tokenizer is at hand to count


@dataclass(frozen=True)
class Wishes:
    """What the user said about the data beside where they are; absent = to be guessed."""

    task: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    image_column: str | None = None
    image_size: int | None = None
    report: str | None = None
    tokenizer: str | None = None
    classes: list[str] | int | None = None


@dataclass(frozen=True)
class Found:
    """The data as the recipe will name them: its `data` keys, the task, and the survey."""

    task: str
    keys: dict[str, Any]
    survey: "Survey"
    where: str
    named: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> list[str]:
        """Classes in label order, empty where nothing is labelled."""
        return list(self.survey.classes)

    @property
    def is_judged(self) -> bool:
        """Whether the task's answers are right or wrong, so that labels are read."""
        return heads_of(self.task)[0].is_labelled

    @property
    def is_unlabelled(self) -> bool:
        """Whether no row has a label."""
        return not sum(self.survey.classes.values())


def find_data(data: str, wishes: Wishes, base: Path | None) -> Found:
    """Find, look into and survey the data.

    Raises:
        UsageError: nothing there, no inputs of the task, or several columns that could be meant.
        UnfitEnvironmentError: a hub id without a network.
    """
    from compactor.data.cache import Opening
    from compactor.data.datasets import DATASETS
    from compactor.data.find_files import find_data as find_data_path
    from compactor.data.survey import survey

    columns: list[Column] | None = None
    written, opened, notes = data, data, list[str]()
    is_images = data in DATASETS
    if not is_images:
        path = find_data_path(data, Opening(None), key="data", table=DATASETS)
        if _is_local(data):  # else it was fetched from the hub, and the recipe names its id
            written, opened = path_in_recipe(data, base, what="data")[0], str(path.absolute())
        is_images = _is_image_folder(path)
        named = wishes.text_column or wishes.label_column or wishes.image_column
        columns = None if is_images else peek(path, are_named=named is not None)
    keys: dict[str, Any] = {"dataset": written}
    if columns is None:
        task = _images_only(data, wishes, named=data in DATASETS)
    else:
        task, chosen = _from_columns(columns, wishes, data, notes)
        keys |= chosen
    opened_report = None
    if wishes.report:
        keys["report"], path = path_in_recipe(wishes.report, base, what="report data")
        opened_report = str(path.absolute())
    for key in ("image_size", "classes"):
        if (value := getattr(wishes, key)) is not None:
            keys[key] = value
    if wishes.tokenizer is not None:
        keys["tokenizer"] = _tokenizer_in_recipe(wishes.tokenizer, base)
    spec = {**keys, "dataset": opened} | ({"report": opened_report} if opened_report else {})
    spec.pop("tokenizer", None)  # its path is that of the recipe's folder; a survey cuts nothing
    result = survey(_spec(spec), base=None, task=task)
    return Found(task, keys, result, data, named=columns is None and data in DATASETS, notes=notes)


def _tokenizer_in_recipe(given: str, base: Path | None) -> str:
    """How the recipe names a tokenizer: a file, a folder or a model.

    Raises:
        UsageError: there is no such file or folder.
    """
    family, colon, rest = given.partition(":")
    if family == "package" and colon:
        return given
    if family == "hf" and colon:
        if locate_model(given, None) is None:  # an id of the hub
            return given
        return f"hf:{path_in_recipe(rest, base, what='tokenizer')[0]}"
    return path_in_recipe(given, base, what="tokenizer")[0]


def _spec(keys: dict[str, Any]) -> DataSpec:
    """Check the keys as a recipe's would be."""
    try:
        return msgspec.convert(keys, DataSpec)
    except msgspec.ValidationError as error:
        raise UsageError(f"data {keys['dataset']}: {str(error).replace('`', '')}") from error


def _is_local(name: str) -> bool:
    try:
        locate(name, Path.cwd(), what="data")
    except UsageError:
        return False
    return True


def _is_image_folder(path: Path) -> bool:
    from compactor.data.table_files import SUFFIXES, tables_in

    if path.is_dir():
        return not tables_in(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"data {path}: found a {path.suffix or 'nameless'} file, expected a folder of images or a table "
            f"({', '.join(SUFFIXES)}); convert it"
        )
    return False


def _images_only(data: str, wishes: Wishes, *, named: bool) -> str:
    """Check that nobody wants columns or texts of images without a table, or other parts of a named set."""
    if wishes.task not in (None, IMAGES):
        raise UsageError(f"data {data}: holds images, but --task {wishes.task} needs a table of texts")
    for key in ("text_column", "image_column", "label_column"):
        if (value := getattr(wishes, key)) is not None:
            option = f"--{key.replace('_', '-')}"
            raise UsageError(f"data {data}: has no columns, so {option} {value} means nothing; remove it")
    for key in ("classes", "report") if named else ():
        if getattr(wishes, key) is not None:
            raise UsageError(
                f"data {data}: brings its own {key}, so --{key} cannot be given; remove it, or write "
                f"./{data} if a path is meant"
            )
    return IMAGES


def _text_column(columns: list[Column], wishes: Wishes, where: str) -> str:
    """The column of texts that is wished for, else the one that can be it."""
    text = wishes.text_column
    if text is None and head_at(heads_of(wishes.task or TEXTS), "word") is not None:
        text = words_column(columns, where)
    elif text is None:
        text = text_column(columns, wishes.label_column, where)
    if text is None:
        raise UsageError(
            f"data {where}: nothing to classify: neither images nor texts in the columns "
            f"{_names(columns)}; name one with --text-column or --image-column"
        )
    return text


def _tag_column(columns: list[Column], where: str) -> str:
    """The column of labels of words."""
    tags = tag_column(columns, where)
    if tags is None:
        raise UsageError(
            f"data {where}: no column of slot labels among {_names(columns)}, expected one label a word "
            "(a list, or a text such as O B-city O); add one, or name another --task"
        )
    return tags


def _from_columns(
    columns: list[Column], wishes: Wishes, where: str, notes: list[str]
) -> tuple[str, dict[str, Any]]:
    """Choose task and columns of a table."""
    for key in ("text_column", "image_column", "label_column"):
        _check_column(getattr(wishes, key), key, columns, where)
    label = wishes.label_column
    texts = wishes.task in (TEXTS, VECTORS) or wishes.text_column
    image = wishes.image_column or (None if texts else image_column(columns, where))
    if image is not None:
        chosen, task = image, wishes.task or IMAGES
        keys: dict[str, Any] = {"image_column": image}
    else:
        if wishes.task == IMAGES:
            raise UsageError(f"data {where}: no column of images among {_names(columns)}; set --image-column")
        text = _text_column(columns, wishes, where)
        words = next(column.words for column in columns if column.name == text)
        chosen, task = text, wishes.task or TEXTS
        keys = {"text_column": text, "max_tokens": _tokens(words)}
    if task == VECTORS:
        return task, keys
    if head_at(heads_of(task), "word") is not None:
        keys["slots_column"] = _tag_column(columns, where)
    if head_at(heads_of(task), "sample") is None:
        return task, keys
    label = label or label_column(columns, chosen, where)
    if label == UNLABELLED:
        label = NO_COLUMN
    elif label is None:
        notes.append(f"no column of labels among {_names(columns)}: taken as unlabelled")
    elif label != wishes.label_column and label != "label":
        notes.append(f"labels are taken from column {label!r}; --label-column says otherwise")
    return task, keys | ({"label_column": label} if label else {})


def _check_column(name: str | None, key: str, columns: list[Column], where: str) -> None:
    if name is None or (key == "label_column" and name == UNLABELLED):
        return
    if name not in [column.name for column in columns]:
        raise UsageError(
            f"data {where}: no column {name!r}, found {_names(columns)}; correct --{key.replace('_', '-')}"
        )


def _names(columns: list[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _tokens(words: int) -> int:
    """Tokens that hold the longest text seen, special ones included, at most what encoders can take."""
    wanted = words * TOKENS_A_WORD + 2
    return next((step for step in TOKEN_STEPS if step >= wanted), TOKEN_STEPS[-1])
