"""How a CSV or TSV file is laid out: its encoding, its delimiter, and whether its rows are whole.

pyarrow, which reads the tables, takes everything for one cell where it looks for another delimiter, and joins
rows at a quote that nobody closed. So the rows are looked through before, once for each state of a file.

1. The delimiter is a comma (in .tsv a TAB), unless the header would be one cell and another one of DELIMITERS
   cuts header and rows into equally many.
2. Rows have as many cells as the header; quotes open at the start of a cell and close at its end. Empty lines
   do not count.
"""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.image_formats import SUFFIXES as IMAGES
from compactor_runtimes.utf8 import read_utf8, require_utf8_mark

DELIMITERS = (",", ";", "\t", "|")
SUFFIXES = (".csv", ".tsv")
NAMES = {",": "commas", ";": "semicolons", "\t": "TABs", "|": "vertical bars"}
TRIED_ROWS = 200
SENTENCE = 3  # words from which on a name is none
REPEATS = 5  # rows for each value from which on values may be classes


@dataclass(frozen=True)
class Layout:
    """The delimiter, the names of the columns, and the rows below them.

    `longest` are the letters of the longest row, delimiters and quotes among them. `is_usual` where nothing
    needs to be said of the delimiter.
    """

    delimiter: str
    names: tuple[str, ...]
    rows: int
    longest: int
    is_usual: bool = True


def layout_of(path: Path) -> Layout:
    """Look through a file by rules 1 and 2.

    Raises:
        UsageError: other text than UTF-8, an unclear delimiter, or a row that is not whole; with its line.
    """
    state = path.stat()
    return _layout(path, state.st_mtime_ns, state.st_size)


def rows_of(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each row that is not empty, the header first.

    Raises:
        UsageError: a quote that is not closed, or text behind a closed one.
        UnicodeDecodeError: other text than UTF-8.
    """
    with path.open(encoding="utf-8-sig", newline="") as file, _long_cells():
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        try:
            yield from (row for row in reader if row)
        except csv.Error as error:
            raise UsageError(
                f"{path}, line {reader.line_num}: its quotes are not whole ({error}); write a quote inside a "
                'cell twice (""), and put quotes around the whole cell'
            ) from error


def looks_headerless(names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Whether the first row is one of the data's.

    It holds an image's path in a column of images, or a sentence, and a class that other rows have as well.
    """
    for place, name in enumerate(names):
        cells = {row[place] for row in rows if place < len(row)}
        if cells and all(Path(one).suffix.lower() in IMAGES for one in (name, *cells)):
            return True
    if not any(len(name.split()) >= SENTENCE for name in names):
        return False
    for place, name in enumerate(names):
        values = [row[place] for row in rows if place < len(row)]
        if name in values and len(set(values)) * REPEATS <= len(values):
            return True
    return False


@lru_cache(maxsize=64)
def _layout(path: Path, changed_ns: int, size_bytes: int) -> Layout:
    with path.open("rb") as file:
        require_utf8_mark(file.read(4), str(path))
    try:
        delimiter = _delimiter(path)
        names, rows, longest = _checked(path, delimiter)
    except UnicodeDecodeError:
        read_utf8(path)  # says the line
        raise
    return Layout(delimiter, names, rows, longest, delimiter == _usual(path))


def _usual(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _delimiter(path: Path) -> str:
    usual = _usual(path)
    header = next(rows_of(path, usual), [])
    if len(header) != 1:
        return usual
    likely = [one for one in DELIMITERS if one != usual and one in header[0]]
    counts = {one: _cells(path, one) for one in likely}
    whole = [one for one, found in counts.items() if len(found) == 1 and max(found) > 1]
    if len(whole) == 1:
        return whole[0]
    if not likely:
        return usual
    raise UsageError(
        f"{path}: its header is one cell, {header[0]!r}, expected {NAMES[usual]} between cells; if they are "
        f"{' or '.join(NAMES[one] for one in likely)}, its rows do not have equally many cells: save it with "
        f"{NAMES[usual]}, or rename the column"
    )


def _cells(path: Path, delimiter: str) -> set[int]:
    """How many cells the first rows have; none where their quotes do not fit."""
    try:
        return {len(row) for row in islice(rows_of(path, delimiter), TRIED_ROWS)}
    except UsageError:
        return set()


def _checked(path: Path, delimiter: str) -> tuple[tuple[str, ...], int, int]:
    """The header, how many rows follow, and the letters of the longest."""
    names: tuple[str, ...] = ()
    number, longest = 0, 0
    for number, row in enumerate(rows_of(path, delimiter)):
        longest = max(longest, sum(map(len, row)) + 3 * len(row))  # a delimiter and two quotes a cell
        if number == 0:
            names = tuple(row)
        elif len(row) != len(names):
            raise UsageError(
                f"{path}, row {number} below the header ({' '.join(delimiter.join(row).split())[:60]!r}): "
                f"{len(row)} cells found, {len(names)} expected; put quotes around a cell that holds "
                f"{NAMES[delimiter]}"
            )
    return names, number, longest


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be of any length; the csv module refuses those above 128 KiB."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
