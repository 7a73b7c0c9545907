"""From sets of labels, as they are written, to rows of ones and zeros; names and numbers are labels.py's.

1. No cell (null, an empty cell of a CSV file) is a row of -100: unlabelled. An empty list, in a text cell the
   separator alone, is a row of zeros: none of the labels.
2. A list holds names or class numbers. One that names a label twice has it once. A single integer is a list
   of one.
3. A list of booleans, of the floats 0 and 1, or of the integers 0 and 1 with one of them twice, is multi-hot:
   one number a label, in the order of the stated names, else of 0, 1, 2, ... Lists of zeros and ones of which
   none repeats a number may be either: of a single number they are class numbers, of two they are refused.
4. A text cell holds names with one of `|`, `;` and `,` between them, outer blanks dropped: the one that
   occurs in the column. If several do, the one is taken whose parts are all stated classes; otherwise it is
   refused.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from compactor.data.class_names import nfc
from compactor.data.labels import INDEX, Labels, read_classes
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

SEPARATORS = ("|", ";", ",")
BITS = {"0", "1"}


def read_label_sets(
    written: Sequence[Any],
    stated: Sequence[str] | None,
    *,
    where: str,
    numbers_of: Sequence[str] | None = None,
) -> Labels:
    """Number sets of labels by rules 1 to 4.

    Args:
        written: the cell of each row: None, a text, an integer, or a list.
        stated: class names in order, where the user, the file or the train split says them.
        where: file and column, for messages.
        numbers_of: see `read_classes`.

    Raises:
        UsageError: a label that is no stated class, or cells that can be read in two ways.
    """
    texts = [one for one in written if isinstance(one, str)]
    separator = _separator(texts, stated, where) if texts else None
    rows = [_names(one, separator, where, row) for row, one in enumerate(written)]
    width = _multi_hot_width(rows, written, stated, where)
    if width is not None:
        names = [nfc(name) for name in stated] if stated else [str(number) for number in range(width)]
        values = [[IGNORE] * width if row is None else [int(bit) for bit in row] for row in rows]
        return Labels(np.array(values, dtype=np.int64).reshape(len(rows), width), names)
    flat = [(at, name) for at, row in enumerate(rows) for name in row or ()]
    found = read_classes(
        [name for _, name in flat],
        stated,
        where=where,
        numbers_of=numbers_of,
        rows=[at for at, _ in flat],
    )
    sets = np.zeros((len(rows), len(found.classes)), dtype=np.int64)
    sets[[at for at, _ in flat], found.values] = 1
    sets[[row is None for row in rows]] = IGNORE
    return Labels(sets, found.classes, found.are_numbers)


def _names(cell: Any, separator: str | None, where: str, row: int) -> list[str] | None:
    """The labels of a cell as they are written; None where there is no cell."""
    if cell is None or cell == IGNORE:
        return None
    if isinstance(cell, str):
        parts = [cell] if separator is None else cell.split(separator)
        return [part for one in parts if (part := one.strip())] if separator else parts
    if isinstance(cell, int) and not isinstance(cell, bool):
        return [str(cell)]
    if not isinstance(cell, list) or any(one is None for one in cell):
        raise UsageError(
            f"{where}: row {row} holds {str(cell)[:60]}, expected a list of labels; write a list of names"
        )
    if any(isinstance(one, float) and one not in (0.0, 1.0) for one in cell):
        raise UsageError(
            f"{where}: row {row} holds {str(cell)[:60]}, expected names, class numbers, or ones and zeros; "
            "write names"
        )
    return [one if isinstance(one, str) else str(int(one)) for one in cell]


def _multi_hot_width(
    rows: list[list[str] | None], written: Sequence[Any], stated: Sequence[str] | None, where: str
) -> int | None:
    """Rule 3: how many labels multi-hot lists have; None where they are names or class numbers."""
    given = [row for row in rows if row is not None]
    sizes = {len(row) for row in given}
    bits = all(set(row) <= BITS for row in given)
    kinds = {type(one) for cell in written if isinstance(cell, list) for one in cell}
    if kinds & {bool, float} and not (bits and len(sizes) == 1):
        raise UsageError(
            f"{where}: lists of ones and zeros of lengths {', '.join(map(str, sorted(sizes)))} found, "
            "expected one number for each label in every row; write names"
        )
    if not bits or len(sizes) != 1 or not (width := sizes.pop()):
        return None
    is_one_label = stated is not None and len(stated) == width == 1
    if kinds & {bool, float} or is_one_label or any(len(set(row)) < width for row in given):
        if stated is not None and len(stated) != width:
            raise UsageError(
                f"{where}: lists of {width} ones and zeros found, but {len(stated)} classes are stated; give "
                "one number for each class, or write names"
            )
        return width
    if width == 2:
        raise UsageError(
            f"{where}: lists such as {given[0]} can be read as two class numbers and as ones and zeros; "
            "write names"
        )
    return None


def _separator(texts: Sequence[str], stated: Sequence[str] | None, where: str) -> str | None:
    """Rule 4; None where every cell is one name."""
    listed = next((one for one in texts if one.lstrip().startswith("[")), None)
    if listed is not None:
        raise UsageError(
            f"{where}: {listed[:60]!r} is a list written as text, expected names with '|' between them; "
            "write it so, or write lists into a JSONL or Parquet file"
        )
    found = [one for one in SEPARATORS if any(one in text for text in texts)]
    known = {nfc(name) for name in stated or ()}
    if not found or all(nfc(text) in known for text in texts):
        return None
    fitting = [one for one in found if known and all(_fits(text, one, known) for text in texts)]
    if len(fitting) == 1 or len(found) == 1:
        return (fitting or found)[0]
    both = " and ".join(repr(one) for one in found)
    raise UsageError(
        f"{where}: holds {both}, and any of them may stand between two labels; keep one as the separator, "
        "list the classes in data.classes, or write lists into a JSONL or Parquet file"
    )


def _fits(text: str, separator: str, known: set[str]) -> bool:
    parts = [part for one in text.split(separator) if (part := one.strip())]
    return all(nfc(part) in known or INDEX.fullmatch(part) for part in parts)
