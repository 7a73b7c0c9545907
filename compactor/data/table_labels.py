"""The label column of tables, and the classes that a file states itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.label_sets import read_label_sets
from compactor.data.labels import Labels, Written, read_classes
from compactor.data.table_files import check_column, opened
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError, needs_extra


def read_labels(
    files: list[Path],
    label_column: str,
    *,
    classes: list[str] | None,
    train_classes: list[str] | None,
    numbers_of: Sequence[str] | None = None,
    allow_unseen: bool,
    several: bool = False,
) -> Labels:
    """Read a label column of all files; an absent one means that nothing is labelled.

    Args:
        files: Tables that are read one after the other.
        label_column: Its name.
        classes: What the user says.
        train_classes: What the train split of the same data set turned out to have.
        numbers_of: A teacher's classes, which numbers may mean where neither user nor file name the classes.
        allow_unseen: Class names that are not among `train_classes` are numbered C.
        several: A row has a set of labels.

    Raises:
        UsageError: a damaged file, another type than integers or strings, or labels out of range.
    """
    rows, published, column = 0, None, _Column(files[0], label_column, several)
    for path in files:
        with opened(path) as file:
            rows += file.rows
            published = published or _published_classes(file.schema, label_column)
            if several:
                published = published or published_tags(file.schema, label_column)
            if label_column in file.schema.names:
                check_column(path, file.schema, label_column, "label_column")
                for _, chunk in file.chunks(label_column):
                    column.add(path, chunk)
    if published and train_classes and not classes and published != train_classes:
        raise UsageError(
            f"{files[0]}: states other classes ({len(published)}) than the train split "
            f"({len(train_classes)}), expected the same in the same order; set data.classes"
        )
    numbers_of = classes or published or numbers_of
    classes = classes or train_classes or published
    if column.kind is None:
        shape = (rows, len(classes or [])) if several else rows
        return Labels(np.full(shape, IGNORE, dtype=np.int64), classes or [])
    if column.count != rows:
        raise UsageError(
            f"{column.where}: is in some of the {len(files)} files only, expected in all or none"
        )
    if several:
        return read_label_sets(column.sets, classes, where=column.where, numbers_of=numbers_of)
    unseen = allow_unseen and train_classes is not None
    return read_classes(
        column.written(), classes, where=column.where, numbers_of=numbers_of, allow_unseen=unseen
    )


class _Column:
    """A label column, piece by piece: names are kept once, of sets of labels every cell."""

    def __init__(self, file: Path, name: str, several: bool) -> None:
        self.file, self.where, self.several = file, f"{file}, column {name!r}", several
        self.kind: Any = None
        self.count = 0
        self.sets: list[Any] = []
        self._names: dict[str, int] = {}
        self._codes: list[NDArray[np.int64]] = []

    def add(self, file: Path, chunk: Any) -> None:
        """Take a pyarrow Array of `file`.

        Raises:
            UsageError: a type that holds no labels, or another than the first file's.
        """
        with needs_extra("train"):
            import pyarrow as pa
        if pa.types.is_dictionary(chunk.type):
            chunk = chunk.cast(chunk.type.value_type)
        if self.kind is None:
            (_require_sets if self.several else _require_names)(chunk.type, self.where)
            self.kind = chunk.type
        if chunk.type != self.kind:
            raise UsageError(
                f"{self.where}: holds {self.kind}, in {file.name} {chunk.type}, expected one type in all "
                "files; write the labels as texts"
            )
        self.count += len(chunk)
        if self.several:
            self.sets += chunk.to_pylist()
        else:
            self._codes.append(self._numbered(chunk))

    def written(self) -> Written:
        """The labels of all pieces."""
        return Written(list(self._names), np.concatenate([np.zeros(0, np.int64), *self._codes]))

    def _numbered(self, chunk: Any) -> NDArray[np.int64]:
        """The number of each cell's name, -1 for none; -100 among integers is the usual mark of no label."""
        import pyarrow as pa

        coded = chunk.dictionary_encode()
        values = coded.dictionary.to_pylist()
        if pa.types.is_boolean(self.kind):
            names = [None if value is None else str(value).lower() for value in values]
        elif pa.types.is_integer(self.kind):
            names = [None if value in (None, IGNORE) else str(value) for value in values]
        else:
            names = values
        numbers = [-1 if one is None else self._names.setdefault(one, len(self._names)) for one in names]
        places = coded.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
        return np.asarray(np.array([*numbers, -1], dtype=np.int64)[places])


def _require_names(kind: Any, where: str) -> None:
    """Refuse a column that cannot hold one label a row.

    Raises:
        UsageError: another type than integers, texts or booleans.
    """
    import pyarrow as pa

    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_boolean(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind)):
        raise UsageError(
            f"{where}: holds {kind}, expected class names, integers 0..C-1 or booleans; write the labels as "
            "texts"
        )


def _require_sets(kind: Any, where: str) -> None:
    """Refuse a column that cannot hold sets of labels.

    Raises:
        UsageError: it holds neither lists, nor texts, nor integers.
    """
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_list or is_text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise UsageError(
            f"{where}: holds {kind}, expected lists of labels, or texts such as 'cat|dog'; write lists of "
            "names"
        )


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


def published_tags(schema: Any, column: str) -> list[str] | None:
    """Names of the labels of words in a file's metadata: a list under the column's name, or the hub's."""
    metadata = schema.metadata or {}
    names = _parsed(metadata.get(column.encode(), b"null"))
    if names is None:
        feature = _parsed(metadata.get(b"huggingface", b"null"))
        for key in ("info", "features", column):
            feature = feature.get(key) if isinstance(feature, dict) else None
        if isinstance(feature, list) and feature:  # a list of something, as older versions write it
            feature = {"feature": feature[0]}
        inner = feature.get("feature") if isinstance(feature, dict) else None
        names = inner.get("names") if isinstance(inner, dict) else None
    is_list = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return names if is_list else None


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
