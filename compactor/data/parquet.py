"""Parquet files as a source: encoded images in one column, labels in another, read in row batches."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compactor.data.labels import Labels, labels_from_integers, labels_from_names
from compactor.data.locate import SPLIT_NAMES, assign_splits
from compactor.data.spec import SplitName
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError, needs_extra

ROWS_PER_BATCH = 512
# `train.parquet`, or a hub shard such as `train-00000-of-00002.parquet`
SHARD = re.compile(r"([a-z]+)(?:-\d+-of-\d+)?")


@dataclass(frozen=True)
class ParquetSource:
    """The rows of `files`, one after the other.

    `classes` is what the user says, `train_classes` what the train split of the same data set turned out to
    have.
    """

    files: list[Path]
    image_column: str
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
        columns = [self.image_column, self.label_column]
        return {
            "kind": "parquet",
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
            with _opened(path) as file:
                rows += file.metadata.num_rows
                published = published or _published_classes(file.schema_arrow, self.label_column)
                if self.label_column in file.schema_arrow.names:
                    chunks += file.read(columns=[self.label_column]).column(0).chunks
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
            UsageError: a damaged file, no such column, a column that holds no bytes, or a row without an
                image.
        """
        for path in self.files:
            with _opened(path) as file:
                self._check_image_column(path, file.schema_arrow)
                row = 0
                for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=[self.image_column]):
                    for cell in batch.column(0).to_pylist():
                        raw = cell["bytes"] if isinstance(cell, dict) else cell
                        where = f"{path}, column {self.image_column!r}, row {row}"
                        if raw is None:
                            raise UsageError(f"{where}: holds no image bytes; remove the row")
                        yield where, raw
                        row += 1

    def _check_image_column(self, path: Path, schema: Any) -> None:
        with needs_extra("train"):
            import pyarrow as pa

        if self.image_column not in schema.names:
            raise UsageError(
                f"{path}: no column {self.image_column!r}, found {', '.join(schema.names)}; "
                "set data.image_column"
            )
        kind = schema.field(self.image_column).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise UsageError(
                f"{path}: column {self.image_column!r} holds {kind}, expected encoded images "
                "(bytes, or a struct with a field 'bytes'); set data.image_column"
            )


def find_parquet_splits(folder: Path) -> dict[SplitName, list[Path]]:
    """Group the parquet files of a folder by split (see assign_splits for validation without test).

    Raises:
        UsageError: a file whose name says no split, no train file, or two names for one split.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        match = SHARD.fullmatch(path.stem)
        if match is None or match[1] not in SPLIT_NAMES:
            raise UsageError(
                f"{path}: the name says no split, expected train, validation or test (or shards such as "
                "train-00000-of-00002.parquet); rename it, or give one file as data.dataset"
            )
        groups.setdefault(match[1], []).append(path)
    return assign_splits(groups, where=folder)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a parquet file and turn what pyarrow finds wrong, now or while reading, into a UsageError."""
    with needs_extra("train"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except UsageError:
        raise
    except (pa.ArrowException, OSError) as error:
        found = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{path}: is no readable parquet file ({found}); copy or download it again"
        ) from error


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
