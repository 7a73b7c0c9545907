"""Words of a text and the slots that a tagger finds in them: BIO labels to spans with character offsets.

A word is a run of characters without white space. Its first token carries its label, in training as here; the
labels of its other tokens are not read. A word without any token (cut off, or dropped by the tokenizer) is
outside of all slots. Adjacent words of one slot are one span.

A slot's value ends where its words do: quotes, brackets and marks of a sentence around it are no part of it,
whatever the tokenizer cuts off. So `April 3rd?` is April 3rd, while C#, 5%, $3.50 and a.m. stay whole:

1. In front, opening brackets and quotes are dropped; behind, closing ones and MARKS.
2. A bracket whose partner lies inside stays, and so does the full stop of an abbreviation such as a.m.
   An apostrophe is dropped only as one of a pair: it may be a genitive.
3. If nothing would be left, all is kept.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OUTSIDE = "O"
WORD = re.compile(r"\S+")
ABBREVIATED = re.compile(r"(?:^|\W)(?:[^\W\d_]\.)+[^\W\d_]$")  # a.m, D.C: without its last full stop
MARKS = frozenset(".,;:!?\u2026\u3002\uff01\uff1f\uff0c\uff1b\uff1a\u3001\u061f\u060c\u0964")
QUOTES = frozenset('"\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a')
APOSTROPHES = frozenset("'\u2018\u2019\u201a")
PARTNERS = {")": "(", "]": "[", "}": "{", "\uff09": "\uff08", "\u300d": "\u300c", "\u300f": "\u300e"}
OPENING = frozenset(PARTNERS.values())


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


def without_punctuation(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out what surrounds `text[start:end]` by rules 1 to 3."""
    first, after = start, end
    while first < after:
        opens = text[first] in APOSTROPHES and text[after - 1] in APOSTROPHES and after - first > 1
        if opens:
            first, after = first + 1, after - 1
        elif text[first] in OPENING | QUOTES:
            first += 1
        elif _ends(text, first, after):
            after -= 1
        else:
            return first, after
    return start, end


def _ends(text: str, first: int, after: int) -> bool:
    """Whether the last character of `text[first:after]` is no part of its words."""
    last = text[after - 1]
    if last == ".":
        return ABBREVIATED.search(text[first : after - 1]) is None
    if last in PARTNERS:
        return PARTNERS[last] not in text[first : after - 1]
    return last in MARKS | QUOTES


def slots(
    text: str,
    bounds: Sequence[tuple[int, int]],
    labels: Sequence[str],
    confidences: Sequence[float] | None = None,
    *,
    punctuation: Literal["kept", "dropped"] = "kept",
) -> list[Slot]:
    """Slots of a text whose words have these BIO labels.

    Args:
        text: what the bounds are of.
        bounds: start and end of each word.
        labels: of each word.
        confidences: probability of each word's label; None where the labels are the truth.
        punctuation: what becomes of that around a slot's words.
    """
    found = []
    for name, first, after in spans(labels):
        start, end = bounds[first][0], bounds[after - 1][1]
        if punctuation == "dropped":
            start, end = without_punctuation(text, start, end)
        least = 1.0 if confidences is None else min(confidences[first:after])
        found.append(Slot(name, start, end, text[start:end], least))
    return found
