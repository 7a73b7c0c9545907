"""The label column of tables: class names or numbers, and the classes that a file states itself."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.labels import Labels, labels_from_integers, labels_from_names
from compactor.data.table_files import NUMBER, check_column, is_csv, opened
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError, needs_extra

INTEGER = re.compile(r"-?\d{1,18}")


def read_labels(
    files: list[Path],
    label_column: str,
    *,
    classes: list[str] | None,
    train_classes: list[str] | None,
    allow_unseen: bool,
) -> Labels:
    """Read a label column of all files; an absent one means that nothing is labelled.

    Args:
        files: Tables that are read one after the other.
        label_column: Its name.
        classes: What the user says.
        train_classes: What the train split of the same data set turned out to have.
        allow_unseen: Class names that are not among `train_classes` are numbered C.

    Raises:
        UsageError: a damaged file, another type than integers or strings, or labels out of range.
    """
    with needs_extra("train"):
        import pyarrow as pa
        import pyarrow.compute as pc

    chunks, rows, published = [], 0, None
    for path in files:
        with opened(path) as file:
            rows += file.rows
            published = published or _published_classes(file.schema, label_column)
            if label_column in file.schema.names:
                check_column(path, file.schema, label_column, "label_column")
                chunks += file.read(label_column).chunks
    if published and train_classes and not classes and published != train_classes:
        raise UsageError(
            f"{files[0]}: states other classes ({len(published)}) than the train split "
            f"({len(train_classes)}), expected the same in the same order; set data.classes"
        )
    classes = classes or train_classes or published
    where = f"{files[0]}, column {label_column!r}"
    if not chunks:
        return Labels(np.full(rows, IGNORE, dtype=np.int64), classes or [])
    column = pa.chunked_array(chunks)
    if len(column) != rows:
        raise UsageError(f"{where}: is in some of the {len(files)} files only, expected in all or none")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type) or pa.types.is_integer(column.type):
        filled = pc.fill_null(column.cast(pa.int64()), IGNORE)
        return labels_from_integers(filled.to_numpy().astype(np.int64), classes, where=where)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        names = column.to_pylist()
        if is_csv(files) and (numbers := _numbers(names, where)) is not None:
            return labels_from_integers(numbers, classes, where=where)
        unseen = allow_unseen and train_classes is not None
        return labels_from_names(names, classes, where=where, allow_unseen=unseen)
    raise UsageError(f"{where}: holds {column.type}, expected integers 0..C-1 or class names")


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
