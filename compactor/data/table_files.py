"""Parquet, CSV (TSV) and JSONL files: which of a folder make a split, and reading their columns.

What the columns mean is in table_source.py and, of labels, in table_labels.py.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compactor.data.csv_layout import SUFFIXES as CSV_SUFFIXES
from compactor.data.csv_layout import layout_of, looks_headerless, rows_of
from compactor.data.find_files import assign_splits
from compactor.data.spec import SPLIT_NAMES, SplitName
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.utf8 import read_utf8, require_utf8_mark

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
ROWS_PER_BATCH = 512
HEADER_ROWS = 1_000  # by which a missing header is found
BLOCK_BYTES = 2**24  # of CSV and JSONL; a row must fit into one
SMALL_BLOCK_BYTES = 2**20  # of CSV with short rows, of which several are in memory
BYTES_A_LETTER = 8  # at most, with quotes written twice
NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d*)?\s*")  # a cell of a CSV file that is no text
# `train.parquet`, or a hub shard such as `train-00000-of-00002.parquet`
SHARD = re.compile(r"([a-z]+)(?:-\d+-of-\d+)?")


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
                "train-00000-of-00002.parquet); rename it, or give one file"
            )
        groups.setdefault(match[1], []).append(path)
    for split, files in groups.items():
        kinds = sorted({path.suffix.lower() for path in files})
        if len(kinds) > 1:  # read one after the other, the same rows would count twice
            raise UsageError(
                f"{folder}: holds split {split} as {' and as '.join(kinds)}, expected one kind of file; "
                "move the others away"
            )
    return assign_splits(groups, where=folder)


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder, sorted; CSV and JSONL may lie beside images, their names must say a split."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())

    def counts(path: Path) -> bool:
        match = SHARD.fullmatch(path.stem)
        return path.suffix.lower() == ".parquet" or (match is not None and match[1] in SPLIT_NAMES)

    return [path for path in found if counts(path)]


def is_csv(files: list[Path]) -> bool:
    """Whether every cell is read as a string."""
    return files[0].suffix.lower() in CSV_SUFFIXES


class Table(Protocol):
    """One opened file, read a column and a piece at a time."""

    schema: Any
    rows: int

    def chunks(self, column: str, rows: "NDArray[np.int64] | None" = None) -> Iterator[tuple[int, Any]]:
        """Yield (first row, pyarrow Array) of a column, in order.

        Pieces without one of the given ascending `rows` may be left out.
        """


class _Parquet:
    def __init__(self, file: Any) -> None:
        self.file, self.schema, self.rows = file, file.schema_arrow, file.metadata.num_rows

    def chunks(self, column: str, rows: "NDArray[np.int64] | None" = None) -> Iterator[tuple[int, Any]]:
        """Row groups without a wanted row are not read."""
        first = 0
        for group in range(self.file.num_row_groups):
            after = first + self.file.metadata.row_group(group).num_rows
            if rows is None or ((rows >= first) & (rows < after)).any():
                for batch in self.file.iter_batches(ROWS_PER_BATCH, row_groups=[group], columns=[column]):
                    yield first, batch.column(0)
                    first += len(batch)
            first = after


class _Csv:
    """Every column is read as strings: types told from the first rows may not fit the later ones."""

    def __init__(self, path: Path) -> None:
        with needs_extra("train"):
            import pyarrow as pa
        layout = layout_of(path)
        self.path, self.delimiter, self.rows = path, layout.delimiter, layout.rows
        short = layout.longest * BYTES_A_LETTER < SMALL_BLOCK_BYTES
        self.block_bytes = min(SMALL_BLOCK_BYTES, BLOCK_BYTES) if short else BLOCK_BYTES
        with self._reader(None) as head:
            names = head.schema.names
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def chunks(self, column: str, rows: "NDArray[np.int64] | None" = None) -> Iterator[tuple[int, Any]]:
        first = 0
        with self._reader(column) as reader:
            for batch in reader:
                yield first, batch.column(0)
                first += len(batch)

    def _reader(self, column: str | None) -> Any:
        """Open the file for one column, or for the names of all."""
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        convert = pa_csv.ConvertOptions()
        if column is not None:
            convert = pa_csv.ConvertOptions(
                null_values=[""],  # an empty cell is absent
                strings_can_be_null=True,
                column_types={column: pa.string()},
                include_columns=[column],
            )
        return pa_csv.open_csv(
            self.path,
            read_options=pa_csv.ReadOptions(block_size=self.block_bytes),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, delimiter=self.delimiter),
            convert_options=convert,
        )


class _InMemory:
    def __init__(self, table: Any) -> None:
        self.table, self.schema, self.rows = table, table.schema, table.num_rows

    def chunks(self, column: str, rows: "NDArray[np.int64] | None" = None) -> Iterator[tuple[int, Any]]:
        first = 0
        for chunk in self.table.column(column).chunks:
            yield first, chunk
            first += len(chunk)


def picked(first: int, array: Any, rows: "NDArray[np.int64] | None") -> "tuple[NDArray[np.int64], Any]":
    """The wanted rows of a piece that begins with row `first`, and its cells there."""
    if rows is None:
        return np.arange(first, first + len(array)), array
    wanted = rows[(rows >= first) & (rows < first + len(array))]
    return wanted, array.take(wanted - first) if len(wanted) else array.slice(0, 0)


def cells(table: Table, column: str, rows: "NDArray[np.int64] | None") -> Iterator[tuple[int, Any]]:
    """Yield (row, value) of a column: all rows, or the given ascending ones."""
    for first, array in table.chunks(column, rows):
        wanted, found = picked(first, array, rows)
        yield from zip(wanted.tolist(), found.to_pylist(), strict=True)


def check_column(path: Path, schema: Any, column: str, key: str) -> None:
    """Refuse a table without the column that recipe key `data.<key>` names.

    Raises:
        UsageError: none of that name, or several.
    """
    if column not in schema.names:
        if is_csv([path]) and has_no_header(path):
            raise no_header(path)
        raise UsageError(f"{path}: no column {column!r}, found {', '.join(schema.names)}; set data.{key}")
    if schema.names.count(column) > 1:
        raise UsageError(f"{path}: {schema.names.count(column)} columns are called {column!r}; rename one")


def has_no_header(path: Path) -> bool:
    """Whether the first row of a CSV file looks like one of the data's."""
    layout = layout_of(path)
    return looks_headerless(layout.names, list(islice(rows_of(path, layout.delimiter), 1, HEADER_ROWS)))


def no_header(path: Path) -> UsageError:
    """Say that the names of the columns are missing."""
    names = layout_of(path).names
    return UsageError(
        f"{path}: its first row looks like one of the data's ({', '.join(names)[:80]}), expected the "
        "names of the columns; put a line such as text,label above it"
    )


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """Open a table and turn what pyarrow finds wrong, now or while reading, into a UsageError."""
    with needs_extra("train"):
        import pyarrow as pa
        import pyarrow.json as pa_json
        import pyarrow.parquet as pq
    suffix = path.suffix.lower()
    try:
        if suffix in CSV_SUFFIXES:
            yield _Csv(path)
        elif suffix == ".jsonl":
            with path.open("rb") as file:
                require_utf8_mark(file.read(4), str(path))
            yield _InMemory(pa_json.read_json(path, pa_json.ReadOptions(block_size=BLOCK_BYTES)))
        else:
            with pq.ParquetFile(path) as file:
                yield _Parquet(file)
    except UsageError:
        raise
    except UnicodeDecodeError:
        read_utf8(path)  # says the line
        raise
    except (pa.ArrowException, OSError) as error:
        found = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{path}: is no readable {suffix[1:]} file ({found}); copy or download it again"
        ) from error
