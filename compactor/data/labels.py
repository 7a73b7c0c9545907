"""From the labels of a data set, as they are written, to class numbers and names.

1. No label (null, an empty cell) is -100.
2. Spellings of one letter (NFC, NFD) are one; nothing else is merged: `yes` and ` yes` are two classes.
3. Where the classes are stated, labels that are among them are their names.
4. Otherwise integers are class numbers if all lie in 0..C-1 as written: no leading zero, sign or fraction. C
   is the number of classes that the user, the file or a teacher names with names that are no integers
   themselves; where nobody does it is the largest one + 1, and none may be absent. What the train split
   showed names nothing by number: a 0 beside its yes and no is another class.
5. Everything else is a name: codes, years, `01`. Names of integers are in numeric order, others sorted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.class_names import SHOWN, listed, nfc, shown
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

INDEX = re.compile(r"0|[1-9]\d{0,17}")
INTEGER = re.compile(r"[-+]?\d{1,18}")


@dataclass(frozen=True)
class Labels:
    """Class number of each row, int64 [N] with -100 where there is none, and the class names in order.

    Of sets of labels (label_sets.py) `values` are ones and zeros [N, C], a row of -100 where there is none.
    `are_numbers` tells that the labels were numbers of named classes (rule 4).
    """

    values: NDArray[np.int64]
    classes: list[str]
    are_numbers: bool = False

    @property
    def absent(self) -> list[str]:
        """Classes that no row has."""
        if self.values.ndim == 2:
            return [name for name, count in zip(self.classes, self.counts, strict=True) if not count]
        seen = set(np.unique(self.values).tolist())
        return [name for index, name in enumerate(self.classes) if index not in seen]

    @property
    def counts(self) -> list[int]:
        """Rows of each class."""
        if self.values.ndim == 2:
            return [int(one) for one in (self.values == 1).sum(0)]
        found = np.bincount(self.values[self.values >= 0], minlength=len(self.classes))
        return [int(one) for one in found]

    @property
    def are_written_numbers(self) -> bool:
        """Whether the labels are names of integers that are not 0..C-1, such as years."""
        return bool(self.classes) and not self._are_bare and all(map(INTEGER.fullmatch, self.classes))

    @property
    def _are_bare(self) -> bool:
        return self.classes == [str(number) for number in range(len(self.classes))]

    def told(self) -> list[str]:
        """How the labels were read, where it might be otherwise."""
        said = []
        if self.are_numbers and not self._are_bare:
            pairs = ", ".join(f"{number} = {name}" for number, name in enumerate(self.classes[:SHOWN]))
            more = ", ..." if len(self.classes) > SHOWN else ""
            said.append(f"labels are class numbers: {pairs}{more}")
        elif self.are_written_numbers:
            said.append(
                f"labels are integers that do not run from 0, so they are names: {shown(self.classes)}"
            )
        if len(self.absent) and len(self.absent) < len(self.classes):
            said.append(f"no row has {shown(self.absent)} of the {len(self.classes)} classes")
        if self.values.ndim == 2 and self.values.size:
            said.append(self._told_sets())
        return said

    def _told_sets(self) -> str:
        """How many rows have each label, and how many have none or no labels at all."""
        known = (self.values >= 0).all(1)
        pairs = [f"{name} {count:,}" for name, count in zip(self.classes, self.counts, strict=True)]
        more = ", ..." if len(pairs) > SHOWN else ""
        none, unlabelled = int((~self.values[known].any(1)).sum()), int((~known).sum())
        return (
            f"any number of {len(pairs)} labels may be true of a row: {', '.join(pairs[:SHOWN])}{more}; "
            f"{self.values[known].sum() / max(int(known.sum()), 1):.2f} a row, {none:,} rows have none of "
            f"them, {unlabelled:,} rows are unlabelled"
        )


@dataclass(frozen=True)
class Written:
    """Labels as they are written: row i has `names[codes[i]]`, or none where its code is -1.

    `codes` are int64 [N]; the names are different ones, in the order in which rows first have them.
    """

    names: list[str]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Iterable[str | None]) -> "Written":
        """Number a list of labels."""
        known: dict[str, int] = {}
        codes = [-1 if one is None else known.setdefault(one, len(known)) for one in labels]
        return cls(list(known), np.array(codes, dtype=np.int64))

    def in_nfc(self) -> "Written":
        """The same with names in NFC, of which two may have become one."""
        merged = Written.of(nfc(name) for name in self.names)
        return Written(merged.names, self.replaced(merged.codes.tolist(), -1))

    def replaced(self, values: Sequence[int], absent: int) -> NDArray[np.int64]:
        """A number of each name in the place of its code, `absent` where there is none."""
        return np.array([*values, absent], dtype=np.int64)[self.codes]


def read_classes(
    written: Sequence[str | None] | Written,
    stated: Sequence[str] | None,
    *,
    where: str,
    numbers_of: Sequence[str] | None = None,
    allow_unseen: bool = False,
    rows: Sequence[int] | None = None,
) -> Labels:
    """Number labels by rules 1 to 5.

    Args:
        written: the label of each row as it is written, None where there is none.
        stated: class names in order, where the user, the file or the train split says them.
        where: file and column, for messages.
        numbers_of: the names that class numbers may stand for: those that the user or the file states, or
            else a teacher's; None = labels are names wherever classes are stated.
        allow_unseen: number names that are not stated C = len(stated), which no model answers, so that they
            count as mistakes.
        rows: the row of each label, for messages; absent = one label a row.

    Raises:
        UsageError: a label that is neither a stated class nor the number of one.
    """
    names = (written if isinstance(written, Written) else Written.of(written)).in_nfc()
    given = names.names
    if stated:
        classes = _stated(stated, where)
        may_be_numbers = numbers_of is not None and [nfc(name) for name in numbers_of] == classes
        if not set(given) <= set(classes) and may_be_numbers and _are_indices(given, classes):
            return _by_number(names, classes)
        if set(given) <= set(classes) or allow_unseen:
            return _by_name(names, classes)
        raise UsageError(_foreign(names, classes, where, may_be_numbers, rows))
    if all(INDEX.fullmatch(name) for name in given) and given:
        numbers = {int(name) for name in given}
        if numbers_of and not any(INTEGER.fullmatch(name) for name in numbers_of):
            if max(numbers) < len(numbers_of):
                return _by_number(names, [nfc(name) for name in numbers_of])
        elif numbers == set(range(len(numbers))):
            return _by_number(names, [str(number) for number in range(len(numbers))])
    return _by_name(names, sorted(given, key=_numeric if _all_integers(given) else None))


def reading(labels: Labels) -> dict[str, Any]:
    """What a source's digest must say of how its labels were read; nothing for plain names and numbers."""
    if labels.are_numbers:
        return {"numbers_of": labels.classes}
    return {"integers": "names"} if labels.are_written_numbers else {}


def _stated(stated: Sequence[str], where: str) -> list[str]:
    """Stated classes in NFC.

    Raises:
        UsageError: two of them are one.
    """
    classes = [nfc(name) for name in stated]
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise UsageError(f"{where}: class {twice!r} is stated twice, expected each class once")
    return classes


def _are_indices(given: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether all labels are numbers of classes, none of which is an integer itself (rule 4)."""
    if any(INTEGER.fullmatch(name) for name in classes):
        return False
    return all(_is_index(name, classes) for name in given)


def _is_index(name: str, classes: Sequence[str]) -> bool:
    return INDEX.fullmatch(name) is not None and int(name) < len(classes)


def _by_name(names: Written, classes: list[str]) -> Labels:
    number = {name: index for index, name in enumerate(classes)}
    return Labels(names.replaced([number.get(name, len(classes)) for name in names.names], IGNORE), classes)


def _by_number(names: Written, classes: list[str]) -> Labels:
    return Labels(names.replaced([int(name) for name in names.names], IGNORE), classes, are_numbers=True)


def _all_integers(given: Sequence[str]) -> bool:
    return all(INTEGER.fullmatch(name) for name in given)


def _numeric(name: str) -> tuple[int, str]:
    """Numbers by their value, spellings of one number by their letters."""
    return int(name), name


def _foreign(
    names: Written,
    classes: Sequence[str],
    where: str,
    may_be_numbers: bool,
    rows: Sequence[int] | None,
) -> str:
    known = set(classes)
    foreign = [name not in known for name in names.names]
    number = ""
    if may_be_numbers and not any(map(INTEGER.fullmatch, classes)):
        number = f", or its number 0..{len(classes) - 1}"
        foreign = [
            one and not _is_index(name, classes) for one, name in zip(foreign, names.names, strict=True)
        ]
    row = int(np.argmax(names.replaced(foreign, False)))
    return (
        f"{where}: row {row if rows is None else rows[row]} holds class {names.names[names.codes[row]]!r}, "
        f"expected one of the {len(classes)} classes {listed(classes)}{number}; "
        "correct the label, or list all classes in data.classes"
    )
