"""Words of a text and the slots that a tagger finds in them: BIO labels to spans with character offsets.

A word is a run of characters without white space. Its first token carries its label, in training as here; the
labels of its other tokens are not read. A word without any token (cut off, or dropped by the tokenizer) is
outside of all slots. Adjacent words of one slot are one span.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OUTSIDE = "O"
WORD = re.compile(r"\S+")


class Slot(Struct, frozen=True):
    """A slot: its name, and where it lies in characters: `text[start:end] == value`.

    `confidence` is the smallest probability of its words' labels; 1 of a slot that nobody guessed.
    """

    name: str
    start: int
    end: int
    value: str
    confidence: float = 1.0


def word_bounds(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, in characters."""
    return [found.span() for found in WORD.finditer(text)]


def first_tokens(
    bounds: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> "NDArray[np.int64]":
    """Position of each word's first token, -1 for a word without any.

    A token belongs to the first word that it has a character of: one that begins with the space before a word
    is that word's, one that reaches into the next word is not the next one's.

    Args:
        bounds: of the words, in order.
        offsets: characters of each token, in order; those without a character (special tokens) are left out.

    Returns:
        int64 [W].
    """
    import numpy as np

    found = np.full(len(bounds), -1, np.int64)
    word = 0
    for position, (start, end) in enumerate(offsets):
        if start == end:
            continue
        while word < len(bounds) and bounds[word][1] <= start:
            word += 1
        if word == len(bounds):
            break
        if bounds[word][0] < end and found[word] < 0:
            found[word] = position
    return found


def is_bio(label: str) -> bool:
    """Whether it is O, B-name or I-name."""
    return label == OUTSIDE or (label[:2] in ("B-", "I-") and len(label) > 2)


def spans(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(slot, first word, word after the last) of BIO labels; an I- without its B- begins a span.

    That is how conlleval and seqeval read them by default.
    """
    found: list[tuple[str, int, int]] = []
    name, start = "", 0
    for place, label in enumerate([*labels, OUTSIDE]):
        prefix, _, kind = label.partition("-")
        if name and (prefix != "I" or kind != name):
            found.append((name, start, place))
            name = ""
        if label != OUTSIDE and not name:
            name, start = kind, place
    return found


def slots(
    text: str,
    bounds: Sequence[tuple[int, int]],
    labels: Sequence[str],
    confidences: Sequence[float] | None = None,
) -> list[Slot]:
    """Slots of a text whose words have these BIO labels.

    Args:
        text: what the bounds are of.
        bounds: start and end of each word.
        labels: of each word.
        confidences: probability of each word's label; None where the labels are the truth.
    """
    found = []
    for name, first, after in spans(labels):
        start, end = bounds[first][0], bounds[after - 1][1]
        least = 1.0 if confidences is None else min(confidences[first:after])
        found.append(Slot(name, start, end, text[start:end], least))
    return found
