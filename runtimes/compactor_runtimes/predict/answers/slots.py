"""The slots of a text: decoded from logits of its tokens, kept in golden cases, compared and said."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.bundle.manifest import BioPost
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.golden.findings import Allowed, Finding
from compactor_runtimes.predict.answers.classes import finite, probability_limit
from compactor_runtimes.predict.answers.record import Record
from compactor_runtimes.predict.bio import OUTSIDE, Slot, slots
from compactor_runtimes.stats.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = Mapping[str, NDArray[Any]]


class Tagging(Record, frozen=True, eq=True):
    """The slots of one text, in order; `truncated` is as in `Prediction`."""

    slots: list[Slot]
    truncated: bool = False


class StoredSlots(Struct, frozen=True):
    """What a golden case stores of the slots of a text, beside its class if it has one as well."""

    slots: list[Slot]


class SlotCodec:
    """Logits of tokens -> slots with character offsets, by the first token of each word; see `Codec`."""

    reads_words = True
    fits_a_line = True

    def __init__(self, post: BioPost, labels: Mapping[str, list[str]]) -> None:
        """Bind the list of BIO labels, whose order is the order of the classes."""
        self.output, self._list = post.output, post.labels
        self.labels, self._punctuation = labels[post.labels], post.punctuation

    def __call__(self, outputs: "Arrays", words: "Sequence[Words]" = ()) -> list[Tagging]:
        """Decode logits [B, L, S] to the slots of B texts; what is said of padding is not read.

        Raises:
            IntegrityError: S is not the number of labels, B that of texts, or a text is longer than L.
        """
        logits = outputs[self.output]
        longest = max((len(each.ids) for each in words), default=0)
        expected = len(words), max(longest, logits.shape[1] if logits.ndim > 1 else 0), len(self.labels)
        if logits.shape != expected:
            raise IntegrityError(
                f"output {self.output!r}: shape {logits.shape} found, [{len(words)}, {longest} or more, "
                f"{len(self.labels)}] expected by texts and label list; export the bundle again"
            )
        chosen, rows = _word_rows(logits, words)
        labels = [OUTSIDE if index < 0 else self.labels[index] for index in chosen.tolist()]
        confidences = softmax(finite(rows, self.output)).max(axis=-1).tolist()
        found, start = [], 0
        for each in words:
            end = start + len(each.bounds)
            of_words = labels[start:end], confidences[start:end]
            found.append(Tagging(slots(each.text, each.bounds, *of_words, punctuation=self._punctuation)))
            start = end
        return found

    def keep(self, answer: Tagging, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """Name, place, value and confidence of each slot."""
        return msgspec.to_builtins(StoredSlots(answer.slots)), {}

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> StoredSlots:
        """Read what `keep` made.

        Raises:
            msgspec.ValidationError: it is something else.
        """
        return msgspec.convert(kept, StoredSlots)

    def describe(self) -> str:
        """From logits to slots."""
        return f"{self.output} -> one of the labels {self._list!r} for each word -> slots"

    def limit(self, rounding: float, of_output: float, *, exact: bool) -> float:
        """Of the probability of a word's label."""
        return probability_limit(rounding, of_output, exact=exact)

    def compare(
        self,
        found: "Arrays",
        stored: StoredSlots,
        expected: "Arrays",
        words: "Sequence[Words]",
        *,
        allowed: Allowed,
        what: str,
    ) -> Finding:
        """Slots are the stored ones, or words were tied; what is in both is about as probable in both."""
        answered, (text,) = self(found, words)[0].slots, words
        known = {_place(slot): slot.confidence for slot in stored.slots}
        differences = (abs(one.confidence - known.get(_place(one), one.confidence)) for one in answered)
        value = max(differences, default=0.0)
        same = list(map(_place, answered)) == list(map(_place, stored.slots))
        tied = self._are_tied(found, stored, expected, text, allowed.tie)
        return Finding(
            (same or tied) and value <= allowed.limit,
            value,
            allowed.limit,
            f"{what}: slots {_shown(answered)} found, {_shown(stored.slots)} expected, confidence within "
            f"{allowed.limit:.3g}",
        )

    def _are_tied(
        self, found: "Arrays", stored: StoredSlots, expected: "Arrays", words: "Words", tie: float
    ) -> bool:
        """Whether the stored outputs give the stored slots, and each word that differs is close in them."""
        if list(map(_place, self(expected, [words])[0].slots)) != list(map(_place, stored.slots)):
            return False
        scores = expected[self.output][0]
        before, after = (word_classes(one[self.output][0], words) for one in (expected, found))
        places = zip(words.first.tolist(), before.tolist(), after.tolist(), strict=True)
        return all(scores[at, a] - scores[at, b] < tie for at, a, b in places if a != b)

    def say(self, answer: Tagging) -> str:
        """How many slots there are."""
        return f"{len(answer.slots)} slots"

    def cells(self, answer: Tagging) -> list[str]:
        """Each slot as name[start:end]=value."""
        return [f"{one.name}[{one.start}:{one.end}]={' '.join(one.value.split())}" for one in answer.slots]


def word_classes(logits: "NDArray[Any]", words: "Words") -> "NDArray[np.int64]":
    """Class of each word of one text, int64 [W], -1 of a word without a token; `logits` are [L, S]."""
    return _word_rows(logits[None], [words])[0]


def _word_rows(logits: "NDArray[Any]", words: "Sequence[Words]") -> "tuple[NDArray[np.int64], NDArray[Any]]":
    """Classes [W] and logits [W, S] of all words of B texts; a word without a token has class -1."""
    import numpy as np

    if not words:
        return np.empty(0, np.int64), logits.reshape(0, logits.shape[-1])
    first = np.concatenate([each.first for each in words])
    text = np.repeat(np.arange(len(words)), [len(each.first) for each in words])
    rows = logits[text, first]  # of a word without a token: any row, which is not read
    return np.where(first < 0, -1, rows.argmax(axis=-1)), rows


def _place(slot: Slot) -> tuple[str, int, int, str]:
    return slot.name, slot.start, slot.end, slot.value


def _shown(found: list[Slot]) -> str:
    return ", ".join(f"{one.name} {one.value!r} at {one.start}:{one.end}" for one in found) or "none"
