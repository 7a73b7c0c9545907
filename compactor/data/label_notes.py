"""What labels make one doubt: classes whose names read alike, and texts that stand under several classes."""

from collections.abc import Sequence

from compactor.data.class_names import folded
from compactor.data.labels import Labels

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


def texts_of_several_classes(texts: Sequence[str], labels: Labels) -> list[str]:
    """Count the texts that occur under more than one class, or with several sets of labels."""
    if labels.values.ndim == 2:
        return _texts_of_several_sets(texts, labels)
    classes: dict[str, set[int]] = {}
    for text, number in zip(texts, labels.values.tolist(), strict=True):
        if number >= 0:
            classes.setdefault(text, set()).add(number)
    several = [text for text, found in classes.items() if len(found) > 1]
    if not several:
        return []
    first = several[0]
    names = " and ".join(repr(labels.classes[number]) for number in sorted(classes[first])[:SHOWN])
    what = "1 text stands" if len(several) == 1 else f"{len(several):,} texts stand"
    return [f"{what} under more than one class, such as {first[:60]!r} under {names}"]


def _texts_of_several_sets(texts: Sequence[str], labels: Labels) -> list[str]:
    sets: dict[str, set[tuple[int, ...]]] = {}
    for text, row in zip(texts, labels.values.tolist(), strict=True):
        if min(row, default=0) >= 0:
            sets.setdefault(text, set()).add(tuple(row))
    several = [text for text, found in sets.items() if len(found) > 1]
    if not several:
        return []
    what = "1 text occurs" if len(several) == 1 else f"{len(several):,} texts occur"
    return [f"{what} with other labels in another row, such as {several[0][:60]!r}"]
