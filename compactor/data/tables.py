"""Tables as a source: parquet, CSV and JSONL files with images or texts in one column, labels in another."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compactor.data.labels import Labels, labels_from_integers, labels_from_names
from compactor.data.locate import SPLIT_NAMES, assign_splits
from compactor.data.spec import SplitName
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError, needs_extra

ROWS_PER_BATCH = 512
SUFFIXES = (".parquet", ".csv", ".jsonl")
# `train.parquet`, or a hub shard such as `train-00000-of-00002.parquet`
SHARD = re.compile(r"([a-z]+)(?:-\d+-of-\d+)?")


@dataclass(frozen=True)
class TableSource:
    """The rows of `files`, one after the other.

    `column` holds the images (encoded; in CSV and JSONL their paths) or the texts. `classes` is what the user
    says, `train_classes` what the train split of the same data set turned out to have.
    """

    files: list[Path]
    column: str
    label_column: str
    classes: list[str] | None = None
    train_classes: list[str] | None = None

    @property
    def name(self) -> str:
        """Path of the first file."""
        return str(self.files[0])

    def fingerprint(self) -> dict[str, Any]:
        """Digest of each file's bytes, and how the columns are read."""
        digests = []
        for path in self.files:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        columns = [self.column, self.label_column]
        return {
            "kind": "table",
            "files": digests,
            "columns": columns,
            "classes": self.classes or self.train_classes,
        }

    def labels(self) -> Labels:
        """Read the label column; an absent one means that nothing is labelled.

        Raises:
            UsageError: a damaged file, another type than integers or strings, or labels out of range.
        """
        with needs_extra("train"):
            import pyarrow as pa
            import pyarrow.compute as pc

        chunks, rows, published = [], 0, None
        for path in self.files:
            with opened(path) as file:
                rows += file.rows
                published = published or _published_classes(file.schema, self.label_column)
                if self.label_column in file.schema.names:
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
            return labels_from_names(column.to_pylist(), classes, where=where)
        raise UsageError(f"{where}: holds {column.type}, expected integers 0..C-1 or class names")

    def items(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the encoded images.

        Raises:
            UsageError: a damaged file, no such column, a column that holds no images, or a row without one.
        """
        for path in self.files:
            with opened(path) as file:
                by_path = path.suffix != ".parquet"
                self._check_image_column(path, file.schema, by_path)
                for row, cell in enumerate(file.cells(self.column)):
                    raw = cell["bytes"] if isinstance(cell, dict) else cell
                    where = f"{path}, column {self.column!r}, row {row}"
                    if raw is None:
                        raise UsageError(
                            f"{where}: holds no image, expected one in every row; remove the row"
                        )
                    yield where, _beside(path, raw, where) if by_path else raw

    def texts(self) -> list[str]:
        """Read the texts.

        Raises:
            UsageError: a damaged file, no such column, another type than text, or a row without text.
        """
        with needs_extra("train"):
            import pyarrow as pa
        found: list[str] = []
        for path in self.files:
            with opened(path) as file:
                _check_column(path, file.schema, self.column, "text_column")
                kind = file.schema.field(self.column).type
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise UsageError(
                        f"{path}: column {self.column!r} holds {kind}, expected texts; set data.text_column"
                    )
                for row, text in enumerate(file.cells(self.column)):
                    if not text or not text.strip():
                        raise UsageError(
                            f"{path}, column {self.column!r}, row {row}: holds no text, expected some in "
                            "every row; remove the row"
                        )
                    found.append(text)
        return found

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


def find_table_splits(folder: Path) -> dict[SplitName, list[Path]]:
    """Group the tables of a folder by split (see assign_splits for validation without test).

    Raises:
        UsageError: a file whose name says no split, no train file, or two names for one split.
    """
    groups: dict[str, list[Path]] = {}
    for path in tables_in(folder):
        match = SHARD.fullmatch(path.stem)
        if match is None or match[1] not in SPLIT_NAMES:
            raise UsageError(
                f"{path}: the name says no split, expected train, validation or test (or shards such as "
                "train-00000-of-00002.parquet); rename it, or give one file as data.dataset"
            )
        groups.setdefault(match[1], []).append(path)
    return assign_splits(groups, where=folder)


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder, sorted; CSV and JSONL may lie beside images, their names must say a split."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())

    def counts(path: Path) -> bool:
        match = SHARD.fullmatch(path.stem)
        return path.suffix == ".parquet" or (match is not None and match[1] in SPLIT_NAMES)

    return [path for path in found if counts(path)]


class Table(Protocol):
    """One opened file."""

    schema: Any
    rows: int

    def read(self, column: str) -> Any:
        """Read a whole column as a pyarrow ChunkedArray."""

    def cells(self, column: str) -> Iterator[Any]:
        """Yield a column's values one by one."""


class _Parquet:
    def __init__(self, file: Any) -> None:
        self.file, self.schema, self.rows = file, file.schema_arrow, file.metadata.num_rows

    def read(self, column: str) -> Any:
        return self.file.read(columns=[column]).column(0)

    def cells(self, column: str) -> Iterator[Any]:
        for batch in self.file.iter_batches(batch_size=ROWS_PER_BATCH, columns=[column]):
            yield from batch.column(0).to_pylist()


class _InMemory:
    def __init__(self, table: Any) -> None:
        self.table, self.schema, self.rows = table, table.schema, table.num_rows

    def read(self, column: str) -> Any:
        return self.table.column(column)

    def cells(self, column: str) -> Iterator[Any]:
        for chunk in self.table.column(column).chunks:
            yield from chunk.to_pylist()


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """Open a table and turn what pyarrow finds wrong, now or while reading, into a UsageError."""
    with needs_extra("train"):
        import pyarrow as pa
        import pyarrow.csv as pa_csv
        import pyarrow.json as pa_json
        import pyarrow.parquet as pq
    try:
        if path.suffix == ".csv":
            # an empty cell is absent, whatever its column's type; texts may hold line breaks
            convert = pa_csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
            parse = pa_csv.ParseOptions(newlines_in_values=True)
            yield _InMemory(pa_csv.read_csv(path, parse_options=parse, convert_options=convert))
        elif path.suffix == ".jsonl":
            yield _InMemory(pa_json.read_json(path))
        else:
            with pq.ParquetFile(path) as file:
                yield _Parquet(file)
    except UsageError:
        raise
    except (pa.ArrowException, OSError) as error:
        found = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{path}: is no readable {path.suffix[1:]} file ({found}); copy or download it again"
        ) from error


def _check_column(path: Path, schema: Any, column: str, key: str) -> None:
    if column not in schema.names:
        raise UsageError(f"{path}: no column {column!r}, found {', '.join(schema.names)}; set data.{key}")


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
