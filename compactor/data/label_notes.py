"""What labels make one doubt: classes whose names read alike, and texts that stand under several classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.class_names import folded
from compactor.data.labels import Labels
from compactor.data.packed_texts import PackedTexts

SHOWN = 3


def alike_classes(labels: Labels) -> list[str]:
    """Name classes that differ by case, blanks, `_` or `-` alone; they are kept apart."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(labels.classes):
        groups.setdefault(folded(name), []).append(number)
    rows = labels.counts
    said = []
    for group in groups.values():
        if len(group) > 1:
            counted = " and ".join(f"{labels.classes[one]!r} ({rows[one]:,} rows)" for one in group)
            said.append(f"classes {counted} read alike, and are kept apart: are they one?")
    return said


def texts_of_several_classes(texts: PackedTexts, labels: Labels) -> list[str]:
    """Count the texts that occur under more than one class, or with several sets of labels."""
    sets = labels.values.ndim == 2
    found: dict[str, set[Any]] = {}
    for row in _rows_in_doubt(texts, labels.values):
        label = labels.values[row]
        found.setdefault(texts[int(row)], set()).add(tuple(label.tolist()) if sets else int(label))
    several = [text for text, known in found.items() if len(known) > 1]
    if not several:
        return []
    first, one = several[0], len(several) == 1
    if sets:
        what = "1 text occurs" if one else f"{len(several):,} texts occur"
        return [f"{what} with other labels in another row, such as {first[:60]!r}"]
    names = " and ".join(repr(labels.classes[number]) for number in sorted(found[first])[:SHOWN])
    what = "1 text stands" if one else f"{len(several):,} texts stand"
    return [f"{what} under more than one class, such as {first[:60]!r} under {names}"]


def _rows_in_doubt(texts: PackedTexts, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ascending labelled rows whose texts may have several labels: told by 64 bits of each text."""
    known = np.flatnonzero(labels >= 0 if labels.ndim == 1 else labels.min(1, initial=0) >= 0)
    if labels.ndim == 2:
        _, labels = np.unique(labels, axis=0, return_inverse=True)
    numbers, label = texts.numbers()[known], labels.ravel()[known]
    order = np.lexsort((label, numbers))
    number, label = numbers[order], label[order]
    differ = (number[1:] == number[:-1]) & (label[1:] != label[:-1])
    return known[np.isin(numbers, number[1:][differ])]
