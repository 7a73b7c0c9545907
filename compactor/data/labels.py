"""Turn the labels of a data set (integers, names, nothing) into int64 class numbers and class names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class Labels:
    """Class number of each row, int64 [N] with -100 where there is none, and the class names in order."""

    values: NDArray[np.int64]
    classes: list[str]


def labels_from_integers(values: NDArray[np.int64], classes: list[str] | None, *, where: str) -> Labels:
    """Check integer labels against the known classes; without known ones, name them "0".."max".

    Args:
        values: int64 [N], -100 where a row has no label.
        classes: Names of the classes 0..C-1, or None if nothing states them.
        where: File and column, for the message.

    Raises:
        UsageError: a label outside 0..C-1; without known classes, a negative one, or one that is not below
            the number of rows (then it is no class number).
    """
    if classes is None:
        highest = int(values.max(initial=-1))
        count = min(highest + 1, len(values))
        names = [str(number) for number in range(max(count, 0))]
    else:
        names = classes
    wrong = np.flatnonzero((values != IGNORE) & ((values < 0) | (values >= len(names))))
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"{where}: labels out of range: row {row} holds {int(values[row])}, expected 0..{len(names) - 1} "
            f"({len(names)} classes{'' if classes else ' at most'}) or null for no label; "
            "correct the labels or list the classes in data.classes"
        )
    return Labels(values, names)


def labels_from_names(
    names: Sequence[str | None], classes: list[str] | None, *, where: str, allow_unseen: bool = False
) -> Labels:
    """Number class names by the known classes, or by their sorted order.

    Args:
        names: Class name of each row, None where a row has no label.
        classes: Known class names in order, or None to take the sorted names found.
        where: File and column, for the message.
        allow_unseen: Number names outside the known classes C = len(classes), which no model answers, so that
            they count as mistakes.

    Raises:
        UsageError: a name is not among the known classes.
    """
    known = sorted({name for name in names if name is not None}) if classes is None else classes
    number: dict[str | None, int] = {name: index for index, name in enumerate(known)}
    number[None] = IGNORE
    for row, name in enumerate(names):
        if name not in number and not allow_unseen:
            shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            raise UsageError(
                f"{where}: labels out of range: row {row} holds class {name!r}, expected one of the "
                f"{len(known)} classes {shown}; correct the label or list all classes in data.classes"
            )
    return Labels(np.array([number.get(name, len(known)) for name in names], dtype=np.int64), known)
