"""Tables as a source: parquet, CSV and JSONL files with images or texts in one column, labels in another."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compactor.data.image_folder import files_digest
from compactor.data.labels import Labels, labels_from_integers, labels_from_names
from compactor.data.table_files import SUFFIXES, find_table_splits, opened, tables_in
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError, needs_extra

__all__ = ["SUFFIXES", "TableSource", "find_table_splits", "tables_in"]

INTEGER = re.compile(r"-?\d{1,18}")
NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d*)?\s*")


@dataclass(frozen=True)
class TableSource:
    """The rows of `files`, one after the other.

    `column` holds the images (encoded; in CSV and JSONL their paths) or the texts. `classes` is what the user
    says, `train_classes` what the train split of the same data set turned out to have; `rows` are the
    ascending rows that are read, absent = all. `column_key` is the recipe key of `column`, for messages. With
    `allow_unseen`, class names that are not among `train_classes` are numbered C.
    """

    files: list[Path]
    column: str
    label_column: str
    classes: list[str] | None = None
    train_classes: list[str] | None = None
    holds: Literal["images", "texts"] = "images"
    rows: NDArray[np.int64] | None = None
    column_key: str = "text_column"
    allow_unseen: bool = False

    @property
    def name(self) -> str:
        """Path of the first file."""
        return str(self.files[0])

    @property
    def _is_csv(self) -> bool:
        """Whether every cell is read as a string."""
        return self.files[0].suffix.lower() == ".csv"

    @property
    def _by_path(self) -> bool:
        """Whether the images are files beside the table."""
        return self.holds == "images" and any(path.suffix.lower() != ".parquet" for path in self.files)

    def fingerprint(self) -> dict[str, Any]:
        """Digest of each file's bytes, how the columns are read, and the images that lie beside the table.

        Raises:
            UsageError: such an image is missing.
        """
        digests = []
        for path in self.files:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        found: dict[str, Any] = {
            "kind": "table",
            "files": digests,
            "columns": [self.column, self.label_column],
            "classes": self.classes or self.train_classes,
        }
        if self.rows is not None:
            found["rows"] = hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()
        if self._by_path:
            images = sorted({raw for _, raw in self.items() if isinstance(raw, Path)})
            found["images"] = files_digest(images, self.files[0].parent.resolve())
        return found

    def count(self) -> int:
        """Number of rows of all files, whichever are read."""
        total = 0
        for path in self.files:
            with opened(path) as file:
                total += file.rows
        return total

    def thinned(self, rows: NDArray[np.int64]) -> "TableSource":
        """The same source with no more than the given ascending rows."""
        return replace(self, rows=rows)

    def labels(self) -> Labels:
        """Read the label column; an absent one means that nothing is labelled.

        The classes are those of the whole column, whichever rows are read.

        Raises:
            UsageError: a damaged file, another type than integers or strings, or labels out of range.
        """
        found = self._all_labels()
        return found if self.rows is None else Labels(found.values[self.rows], found.classes)

    def _all_labels(self) -> Labels:
        with needs_extra("train"):
            import pyarrow as pa
            import pyarrow.compute as pc

        chunks, rows, published = [], 0, None
        for path in self.files:
            with opened(path) as file:
                rows += file.rows
                published = published or _published_classes(file.schema, self.label_column)
                if self.label_column in file.schema.names:
                    _check_column(path, file.schema, self.label_column, "label_column")
                    chunks += file.read(self.label_column).chunks
        if published and self.train_classes and not self.classes and published != self.train_classes:
            raise UsageError(
                f"{self.name}: states other classes ({len(published)}) than the train split "
                f"({len(self.train_classes)}), expected the same in the same order; set data.classes"
            )
        classes = self.classes or self.train_classes or published
        where = f"{self.name}, column {self.label_column!r}"
        if not chunks:
            return Labels(np.full(rows, IGNORE, dtype=np.int64), classes or [])
        column = pa.chunked_array(chunks)
        if len(column) != rows:
            raise UsageError(
                f"{where}: is in some of the {len(self.files)} files only, expected in all or none"
            )
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_null(column.type) or pa.types.is_integer(column.type):
            filled = pc.fill_null(column.cast(pa.int64()), IGNORE)
            return labels_from_integers(filled.to_numpy().astype(np.int64), classes, where=where)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            names = column.to_pylist()
            if self._is_csv and (numbers := _numbers(names, where)) is not None:
                return labels_from_integers(numbers, classes, where=where)
            unseen = self.allow_unseen and self.train_classes is not None
            return labels_from_names(names, classes, where=where, allow_unseen=unseen)
        raise UsageError(f"{where}: holds {column.type}, expected integers 0..C-1 or class names")

    def items(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the encoded images.

        Raises:
            UsageError: a damaged file, no such column, a column that holds no images, or a row without one.
        """
        first = 0
        for path in self.files:
            with opened(path) as file:
                by_path = path.suffix.lower() != ".parquet"
                self._check_image_column(path, file.schema, by_path)
                for row, cell in file.cells(self.column, self._wanted(first, file.rows)):
                    raw = cell["bytes"] if isinstance(cell, dict) else cell
                    where = f"{path}, column {self.column!r}, row {row}"
                    if raw is None:
                        raise UsageError(
                            f"{where}: holds no image, expected one in every row; remove the row"
                        )
                    yield where, _beside(path, raw, where) if by_path else raw
                first += file.rows

    def texts(self) -> list[str]:
        """Read the texts; a list of words is joined by spaces.

        Raises:
            UsageError: a damaged file, no such column, another type than text, a row without text, or no row.
        """
        with needs_extra("train"):
            import pyarrow as pa
        found: list[str] = []
        first = 0
        for path in self.files:
            with opened(path) as file:
                _check_column(path, file.schema, self.column, self.column_key)
                kind = file.schema.field(self.column).type
                kind = kind.value_type if pa.types.is_list(kind) else kind
                if file.rows and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise UsageError(
                        f"{path}: column {self.column!r} holds {kind}, expected texts; "
                        f"set data.{self.column_key}"
                    )
                for row, cell in file.cells(self.column, self._wanted(first, file.rows)):
                    text = " ".join(cell) if isinstance(cell, list) else cell
                    if not text or not text.strip():
                        raise UsageError(
                            f"{path}, column {self.column!r}, row {row}: holds no text, expected some in "
                            "every row; remove the row"
                        )
                    found.append(text)
                first += file.rows
        if not found:
            raise UsageError(f"{self.name}: holds no row, expected at least one text; give a table with rows")
        if self._is_csv and all(NUMBER.fullmatch(text) for text in found):
            raise UsageError(
                f"{self.name}: column {self.column!r} holds numbers alone, expected texts; "
                f"set data.{self.column_key}"
            )
        return found

    def tags(self, column: str) -> list[list[str] | None]:
        """Read a column of labels of words: a list, or one text with spaces; None where a row has none.

        Raises:
            UsageError: a damaged file, no such column, or another type.
        """
        found: list[list[str] | None] = []
        first = 0
        for path in self.files:
            with opened(path) as file:
                _check_column(path, file.schema, column, "slots_column")
                for row, cell in file.cells(column, self._wanted(first, file.rows)):
                    cell = cell.split() if isinstance(cell, str) else cell
                    if cell is not None and not all(isinstance(tag, str) and tag for tag in cell):
                        raise UsageError(
                            f"{path}, column {column!r}, row {row}: {cell!r} found, expected one label a "
                            "word: a list of texts, or a text with spaces; set data.slots_column"
                        )
                    found.append(cell)
                first += file.rows
        return found

    def _wanted(self, first: int, count: int) -> NDArray[np.int64] | None:
        """Rows that are read of a file of `count` rows that begins with row `first`; None = all."""
        if self.rows is None:
            return None
        return self.rows[(self.rows >= first) & (self.rows < first + count)] - first

    def _check_image_column(self, path: Path, schema: Any, by_path: bool) -> None:
        with needs_extra("train"):
            import pyarrow as pa
        _check_column(path, schema, self.column, "image_column")
        kind = schema.field(self.column).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        fits = pa.types.is_string if by_path else pa.types.is_binary
        if not (fits(kind) or (pa.types.is_large_binary(kind) and not by_path)):
            expected = (
                "paths of image files"
                if by_path
                else "encoded images (bytes, or a struct with a field 'bytes')"
            )
            raise UsageError(
                f"{path}: column {self.column!r} holds {kind}, expected {expected}; set data.image_column"
            )


def _check_column(path: Path, schema: Any, column: str, key: str) -> None:
    if column not in schema.names:
        raise UsageError(f"{path}: no column {column!r}, found {', '.join(schema.names)}; set data.{key}")
    if schema.names.count(column) > 1:
        raise UsageError(f"{path}: {schema.names.count(column)} columns are called {column!r}; rename one")


def _numbers(names: list[str | None], where: str) -> NDArray[np.int64] | None:
    """Class numbers that a CSV file holds as strings; None where they are class names.

    Raises:
        UsageError: numbers that are no integers.
    """
    given = {name for name in names if name is not None}
    if all(INTEGER.fullmatch(name) for name in given):
        return np.array([IGNORE if name is None else int(name) for name in names], dtype=np.int64)
    if all(NUMBER.fullmatch(name) for name in given):
        odd = next(name for name in names if name is not None and not INTEGER.fullmatch(name))
        raise UsageError(
            f"{where}: holds {odd}, expected integers 0..C-1 or class names; write whole numbers"
        )
    return None


def _beside(table: Path, name: str, where: str) -> Path:
    """Resolve an image's path, which must stay inside the table's folder."""
    root = table.parent.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise UsageError(f"{where}: {name} leaves the folder of the table; put the images into it")
    if not path.is_file():
        raise UsageError(f"{where}: {path} does not exist; correct the path, it is relative to the table")
    return path


def _published_classes(schema: Any, label_column: str) -> list[str] | None:
    """Class names of the file's metadata: a JSON list `classes`, or the hub's feature description."""
    metadata = schema.metadata or {}
    if b"classes" in metadata:
        names = _parsed(metadata[b"classes"])
    else:
        names = _parsed(metadata.get(b"huggingface", b"null"))
        for key in ("info", "features", label_column, "names"):
            names = names.get(key) if isinstance(names, dict) else None
    is_list = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return names if is_list else None


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
