"""BIO labels of words: checked against the texts, numbered over all splits, padded to one array."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Stored
from compactor.data.spec import SplitName
from compactor.data.table_source import TableSource
from compactor.data.tag_schemes import Tags, to_bio
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.bio import OUTSIDE, word_bounds


@dataclass(frozen=True)
class NumberedTags:
    """Labels of words by split, int64 [N, W] (-100 = no word or no label).

    `classes` are those of train, "O" first and the others sorted; `unseen` occur in other splits alone and
    are numbered on.
    """

    values: dict[SplitName, NDArray[np.int64]]
    classes: list[str]
    unseen: list[str]


def read_tags(
    sources: Mapping[SplitName, TableSource], texts: Mapping[SplitName, Sequence[str]], column: str
) -> tuple[dict[SplitName, Tags], list[str]]:
    """Read the labels of words of all splits in BIO, and say what was turned into it.

    Raises:
        UsageError: no such column, or labels that fit neither BIO nor the texts.
    """
    tags, said = to_bio({name: source.tags(column) for name, source in sources.items()})
    for name, of in tags.items():
        checked_tags(of, texts[name], sources[name].name)
    return tags, said


def checked_tags(tags: Tags, texts: Sequence[str], source: str) -> Tags:
    """Check that every labelled text has one label a word, each of them O, B-NAME or I-NAME.

    Raises:
        UsageError: the first row that has not.
    """
    for row, (found, text) in enumerate(zip(tags, texts, strict=True)):
        if found is None:
            continue
        words = word_bounds(text)
        if len(found) != len(words):
            raise UsageError(
                f"{source}, row {row}: {len(found)} slot labels found for {len(words)} words, expected one "
                f"for each run without white space of {text[:60]!r}; correct the row"
            )
        for tag in found:
            if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
                raise UsageError(
                    f"{source}, row {row}: slot label {tag!r} found, expected O, B-NAME or I-NAME (or "
                    "BIOES, BILOU, BMES or IOB1 throughout); write the labels in BIO"
                )
    return tags


def number_tags(tags: Mapping[SplitName, Tags]) -> NumberedTags:
    """Number the labels of all splits; `tags` holds train.

    Raises:
        UsageError: train has no label at all.
    """

    def names(of: Tags) -> set[str]:
        return {tag for row in of if row is not None for tag in row} - {OUTSIDE}

    if not any(row for row in tags["train"]):
        raise UsageError(
            "data.slots_column: no train text has slot labels, expected some; name another column"
        )
    classes = [OUTSIDE, *sorted(names(tags["train"]))]
    unseen = sorted({tag for of in tags.values() for tag in names(of)} - set(classes))
    number = {tag: index for index, tag in enumerate([*classes, *unseen])}
    width = max(len(row) for of in tags.values() for row in of if row is not None)
    values = {name: np.full((len(of), width), IGNORE, dtype=np.int64) for name, of in tags.items()}
    for name, of in tags.items():
        for index, row in enumerate(of):
            if row is not None:
                values[name][index, : len(row)] = [number[tag] for tag in row]
    return NumberedTags(values, classes, unseen)


def with_words(stored: Stored, words: NDArray[np.int64]) -> Stored:
    """The same source with labels of its words, which enter the digest."""
    digest = hashlib.sha256(f"{stored.digest} {words.shape}".encode())
    digest.update(words.astype("<i8").tobytes())
    return replace(stored, words=words, digest=digest.hexdigest())
