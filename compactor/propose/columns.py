"""Which columns of a table hold images, texts and labels, told from its first rows."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from compactor.data.csv_layout import layout_of, rows_of
from compactor.data.table_files import has_no_header, is_csv, no_header, tables_in
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.predict.image_formats import SUFFIXES
from compactor_runtimes.utf8 import read_utf8, require_utf8_mark

PEEKED_ROWS = 1_000
LABELS = ("label", "labels", "class", "category", "intent", "target")
TEXTS = ("text", "sentence", "utterance", "content", "document", "review", "query")
TAGS = ("slots", "tags", "ner_tags", "slot_labels", "bio")
TAG = re.compile(r"O|[BIESLUM]-\S+")  # of a word, in BIO and its kin
Kind = Literal["image", "text", "number", "words", "tags", "other"]


@dataclass(frozen=True)
class Column:
    """A column's name, kind, number of different values and longest text in words, among the first rows."""

    name: str
    kind: Kind
    distinct: int = 0
    rows: int = 0
    words: int = 0

    @property
    def repeats(self) -> bool:
        """Whether so few values take turns that they may be classes."""
        return self.kind in ("text", "number") and 2 <= self.distinct <= self.rows / 5


def peek(path: Path, *, are_named: bool = False) -> list[Column]:
    """Describe the columns of a table, or of the first table of a folder.

    Args:
        path: The table or folder.
        are_named: The user names columns, so that the file must have a header.

    Raises:
        UsageError: it cannot be read, holds no row, or seems to have no header.
    """
    if path.is_dir():
        found = tables_in(path)
        path = next((file for file in found if file.name.startswith("train")), found[0])
    reader = {".parquet": _parquet, ".jsonl": _jsonl}.get(path.suffix.lower(), _csv)
    try:
        columns = [_describe(name, values) for name, values in reader(path).items()]
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        if isinstance(error, UnicodeDecodeError):
            read_utf8(path)  # says the line
        found_wrong = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{path}: cannot be read as {path.suffix} ({found_wrong}); copy or save it again as UTF-8"
        ) from error
    if is_csv([path]) and not are_named and has_no_header(path):
        raise no_header(path)
    if not any(column.rows for column in columns):
        raise UsageError(f"{path}: holds no row, expected one sample a row; give a table with samples")
    return columns


def image_column(columns: Sequence[Column], where: str) -> str | None:
    """Return the one column of images, if any.

    Raises:
        UsageError: several; the message names them.
    """
    return _only([column.name for column in columns if column.kind == "image"], ("image",), where, "image")


def text_column(columns: Sequence[Column], label: str | None, where: str) -> str | None:
    """Return the one column of texts, if any; usual names win over others.

    Raises:
        UsageError: several; the message names them.
    """
    texts = [
        column
        for column in columns
        if column.kind == "text" and column.name != label and column.name.lower() not in LABELS
    ]
    # texts seldom repeat (a class does, a language) and have several words (a key has one)
    likely = [column for column in texts if not column.repeats and column.words > 1]
    return _only([column.name for column in likely or texts], TEXTS, where, "text")


def label_column(columns: Sequence[Column], taken: str | None, where: str) -> str | None:
    """Return the column of labels: one with a usual name, else the only one whose values repeat.

    Args:
        columns: All of them.
        taken: Column that holds the inputs.
        where: File, for the message.

    Raises:
        UsageError: several could be it; the message names them.
    """
    free = [column for column in columns if column.name != taken]
    named = [
        column.name for column in free if column.name.lower() in LABELS and column.kind in ("text", "number")
    ]
    return _only(named or [column.name for column in free if column.repeats], ("label",), where, "label")


def words_column(columns: Sequence[Column], where: str) -> str | None:
    """Return the column of texts, or of lists of words, whose words have labels.

    Raises:
        UsageError: several; the message names them.
    """
    lists = [column.name for column in columns if column.kind == "words"]
    return text_column(columns, None, where) or _only(lists, ("tokens", "words"), where, "text")


def tag_column(columns: Sequence[Column], where: str) -> str | None:
    """Return the column of labels of words, if any: lists of labels or of numbers, or texts of labels.

    Raises:
        UsageError: several; the message names them.
    """
    return _only([column.name for column in columns if column.kind == "tags"], TAGS, where, "slots")


def _only(names: list[str], usual: Sequence[str], where: str, what: str) -> str | None:
    preferred = next((name for name in usual if name in names), None)
    if preferred is not None or len(names) < 2:
        return preferred or next(iter(names), None)
    none = ", or - if they are unlabelled" if what == "label" else ""
    raise UsageError(
        f"{where}: {len(names)} columns could be the {what} ({', '.join(names)}); "
        f"name one with --{what}-column{none}"
    )


def _describe(name: str, values: list[Any]) -> Column:
    """Tell what a column holds; empty cells say nothing."""
    values = [value for value in values if value is not None and value != ""]
    words = max((len(value.split()) for value in values if isinstance(value, str)), default=0)
    distinct = len({value for value in values if isinstance(value, str | int)})
    return Column(name, _kind(values), distinct, len(values), words)


def _kind(values: list[Any]) -> Kind:
    if not values:
        return "other"
    if all(isinstance(value, bytes) for value in values):
        return "image"
    if all(isinstance(value, int) for value in values):
        return "number"
    if all(isinstance(value, list) for value in values):
        return _kind_of_lists([one for value in values for one in value])
    if not all(isinstance(value, str) for value in values):
        return "other"
    if all(Path(value).suffix.lower() in SUFFIXES and "\n" not in value for value in values):
        return "image"
    if all(value.strip().lstrip("-").isdecimal() for value in values):
        return "number"
    rows = [value.split() for value in values]
    tokens = [one for row in rows for one in row]
    # classes such as B-52 are one word each, and none of them is O
    if max(map(len, rows)) > 1 and "O" in tokens and _kind_of_lists(tokens) == "tags":
        return "tags"
    return "other" if all(_is_float(value) for value in values) else "text"


def _kind_of_lists(values: list[Any]) -> Kind:
    """Labels of words, or words: labels have a prefix, and some word is in a slot; or they are numbers."""
    if values and all(type(value) is int for value in values):
        return "tags"
    if not values or not all(isinstance(value, str) for value in values):
        return "other"
    are_tags = all(TAG.fullmatch(value) for value in values) and any(value != "O" for value in values)
    return "tags" if are_tags else "words"


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> dict[str, list[Any]]:
    with needs_extra("train"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        # a handful of cells tells bytes; a thousand images would be read for nothing
        large = [
            field.name
            for field in schema
            if pa.types.is_binary(field.type)
            or pa.types.is_large_binary(field.type)
            or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
        ]
        rest = [name for name in schema.names if name not in large]
        columns: dict[str, list[Any]] = {name: [b"?"] for name in large}
        if rest:
            batch = next(file.iter_batches(batch_size=PEEKED_ROWS, columns=rest), None)
            columns |= {name: batch.column(name).to_pylist() if batch else [] for name in rest}
        elif not file.metadata.num_rows:
            columns = {name: [] for name in large}
    return {name: columns[name] for name in schema.names}


def _csv(path: Path) -> dict[str, list[Any]]:
    layout = layout_of(path)
    twice = next((name for name in layout.names if name and layout.names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: {layout.names.count(twice)} columns are called {twice!r}; rename one")
    rows = list(islice(rows_of(path, layout.delimiter), 1, PEEKED_ROWS + 1))
    return {name: [row[place] for row in rows] for place, name in enumerate(layout.names)}


def _jsonl(path: Path) -> dict[str, list[Any]]:
    rows = list(islice(_objects(path), PEEKED_ROWS))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as start:
        require_utf8_mark(start.read(4), str(path))
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise UsageError(
                    f"{path}, line {number}: found {type(row).__name__}, expected one JSON object a line"
                )
            yield row
