"""Tables as a source: parquet, CSV and JSONL files with images or texts in one column, labels in another."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compactor.cache.digest import file_digest
from compactor.data.csv_layout import NAMES, layout_of
from compactor.data.image_folder import files_digest
from compactor.data.label_notes import alike_classes
from compactor.data.labels import Labels, reading
from compactor.data.packed_texts import PackedTexts, first_blank, read_texts
from compactor.data.table_files import NUMBER, Table, cells, check_column, is_csv, opened, picked
from compactor.data.table_labels import published_tags, read_labels
from compactor_runtimes.errors import UsageError, needs_extra


@dataclass(frozen=True)
class TableSource:
    """The rows of `files`, one after the other.

    `column` holds the images (encoded; in CSV and JSONL their paths) or the texts. `classes` is what the user
    says, `train_classes` what the train split of the same data set turned out to have, `numbers_of` a
    teacher's classes, which numbers may mean where nobody names them; `rows` are the
    ascending rows that are read, absent = all. `column_key` is the recipe key of `column`, for messages. With
    `allow_unseen`, class names that are not among `train_classes` are numbered C. With `several`, a row has a
    set of labels (label_sets.py).
    """

    files: list[Path]
    column: str
    label_column: str
    classes: list[str] | None = None
    train_classes: list[str] | None = None
    numbers_of: tuple[str, ...] | None = None
    holds: Literal["images", "texts"] = "images"
    rows: NDArray[np.int64] | None = None
    column_key: str = "text_column"
    allow_unseen: bool = False
    several: bool = False

    @property
    def name(self) -> str:
        """Path of the first file."""
        return str(self.files[0])

    @property
    def _by_path(self) -> bool:
        """Whether the images are files beside the table."""
        return self.holds == "images" and not all(map(_is_parquet, self.files))

    def fingerprint(self) -> dict[str, Any]:
        """Digest of each file's bytes, how the columns are read, and the images that lie beside the table.

        Raises:
            UsageError: such an image is missing.
        """
        found: dict[str, Any] = {
            "kind": "table",
            "files": [file_digest(path) for path in self.files],
            "columns": [self.column, self.label_column],
            "classes": self.classes or self.train_classes,
        }
        found |= reading(self.labels()) | ({"labels": "sets"} if self.several else {})
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
        """Read the label column, once; an absent one means that nothing is labelled.

        The classes are those of the whole column, whichever rows are read.

        Raises:
            UsageError: a damaged file, another type than integers or strings, or labels out of range.
        """
        found = self._all_labels
        return found if self.rows is None else replace(found, values=found.values[self.rows])

    @cached_property
    def _all_labels(self) -> Labels:
        return read_labels(
            self.files,
            self.label_column,
            classes=self.classes,
            train_classes=self.train_classes,
            numbers_of=self.numbers_of,
            allow_unseen=self.allow_unseen,
            several=self.several,
        )

    def notes(self) -> list[str]:
        """What was read otherwise than one might think, or not at all."""
        labels = self.labels()
        return [*_delimiters(self.files), *labels.told(), *alike_classes(labels)]

    def items(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the encoded images.

        Raises:
            UsageError: a damaged file, no such column, a column that holds no images, or a row without one.
        """
        for path, row, cell in self._cells(self.column, self._check_images):
            raw = cell["bytes"] if isinstance(cell, dict) else cell
            where = f"{path}, column {self.column!r}, row {row}"
            if raw is None:
                raise UsageError(f"{where}: holds no image, expected one in every row; remove the row")
            yield where, raw if _is_parquet(path) else _beside(path, raw, where)

    def texts(self) -> PackedTexts:
        """Read the texts; a list of words is joined by spaces.

        Raises:
            UsageError: a damaged file, no such column, another type than text, a row without text, or no row.
        """
        pieces: list[PackedTexts] = []
        first = 0
        for path in self.files:
            with opened(path) as file:
                self._check_texts(path, file)
                wanted = self._wanted(first, file.rows)
                for start, chunk in file.chunks(self.column, wanted):
                    pieces.append(self._texts(path, *picked(start, chunk, wanted)))
                first += file.rows
        found = PackedTexts.joined(pieces)
        if not len(found):
            raise UsageError(f"{self.name}: holds no row, expected at least one text; give a table with rows")
        if is_csv(self.files) and all(NUMBER.fullmatch(text) for text in found):
            raise UsageError(
                f"{self.name}: column {self.column!r} holds numbers alone, expected texts; "
                f"set data.{self.column_key}"
            )
        return found

    def _texts(self, path: Path, rows: NDArray[np.int64], chunk: Any) -> PackedTexts:
        """The texts of a piece.

        Raises:
            UsageError: a row of the file without text.
        """
        found = read_texts(chunk)
        if (bare := first_blank(found)) is not None:
            raise UsageError(
                f"{path}, column {self.column!r}, row {rows[bare]}: holds no text, expected some in every "
                "row; remove the row"
            )
        return found

    def tags(self, column: str) -> list[list[str] | None]:
        """Read a column of labels of words: a list, or one text with spaces; None where a row has none.

        Numbers stand for the names that the file's metadata give them.

        Raises:
            UsageError: a damaged file, no such column, another type, or numbers without names.
        """
        found: list[list[str] | None] = []
        names: list[str] | None = None

        def check(path: Path, file: Table) -> None:
            nonlocal names
            check_column(path, file.schema, column, "slots_column")
            names = published_tags(file.schema, column)

        for path, row, cell in self._cells(column, check):
            cell = cell.split() if isinstance(cell, str) else cell
            if isinstance(cell, list) and cell and all(type(tag) is int for tag in cell):
                if names is None or not all(0 <= tag < len(names) for tag in cell):
                    known = "no names" if names is None else f"names of 0 to {len(names) - 1}"
                    raise UsageError(
                        f"{path}, column {column!r}, row {row}: slot labels are numbers ({cell[:6]}), the "
                        f"file has {known} for them; write the labels as texts, or their names into its "
                        f'metadata as a JSON list under "{column}"'
                    )
                cell = [names[tag] for tag in cell]
            if cell is not None and not all(isinstance(tag, str) and tag for tag in cell):
                raise UsageError(
                    f"{path}, column {column!r}, row {row}: {cell!r} found, expected one label a "
                    "word: a list of texts, or a text with spaces; set data.slots_column"
                )
            found.append(cell)
        return found

    def _cells(self, column: str, check: Callable[[Path, Table], None]) -> Iterator[tuple[Path, int, Any]]:
        """Yield file, row of the file and cell of all rows that are read, each file checked first."""
        first = 0
        for path in self.files:
            with opened(path) as file:
                check(path, file)
                for row, cell in cells(file, column, self._wanted(first, file.rows)):
                    yield path, row, cell
                first += file.rows

    def _wanted(self, first: int, count: int) -> NDArray[np.int64] | None:
        """Rows that are read of a file of `count` rows that begins with row `first`; None = all."""
        if self.rows is None:
            return None
        return self.rows[(self.rows >= first) & (self.rows < first + count)] - first

    def _check_texts(self, path: Path, file: Table) -> None:
        with needs_extra("train"):
            import pyarrow as pa
        check_column(path, file.schema, self.column, self.column_key)
        kind = file.schema.field(self.column).type
        kind = kind.value_type if pa.types.is_list(kind) else kind
        if file.rows and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UsageError(
                f"{path}: column {self.column!r} holds {kind}, expected texts; set data.{self.column_key}"
            )

    def _check_images(self, path: Path, file: Table) -> None:
        with needs_extra("train"):
            import pyarrow as pa
        check_column(path, file.schema, self.column, "image_column")
        by_path = not _is_parquet(path)
        kind = file.schema.field(self.column).type
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


def _delimiters(files: list[Path]) -> list[str]:
    """Say what is between the cells of a CSV file, where it is not what the file's name says."""
    unusual = {layout_of(path).delimiter: path for path in files if is_csv([path])}
    unusual = {one: path for one, path in unusual.items() if not layout_of(path).is_usual}
    return [f"{path.name} is read with {NAMES[one]} between cells" for one, path in unusual.items()]


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _beside(table: Path, name: str, where: str) -> Path:
    """The path of an image, whose name must lie inside the table's folder; what is there may be a link."""
    root = table.parent.resolve()
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root):
        raise UsageError(
            f"{where}: {name} leaves the folder of the table; put the images into it, or links to them"
        )
    if not path.is_file():
        what = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise UsageError(f"{where}: {path} {what}; correct the path, it is relative to the table")
    return path
