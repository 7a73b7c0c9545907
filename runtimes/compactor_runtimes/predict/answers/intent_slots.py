"""The intent of a text together with its slots: two entries of a manifest's `post` make one answer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compactor_runtimes.predict.answers.classes import ClassCodec, Prediction
from compactor_runtimes.predict.answers.slots import SlotCodec, Tagging
from compactor_runtimes.predict.bio import Slot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words


class Understanding(Prediction, frozen=True, eq=False, kw_only=True):
    """The most probable intent of one text, and its slots in order."""

    slots: list[Slot]


class IntentSlotCodec:
    """Logits of a text and of its tokens -> its intent with its slots; see `Decode`."""

    reads_words = True
    fits_a_line = True

    def __init__(self, intent: ClassCodec, tagger: SlotCodec) -> None:
        """Bind the two."""
        self._intent, self._tagger = intent, tagger
        self.labels = intent.labels

    def __call__(
        self, outputs: "Mapping[str, NDArray[Any]]", words: "Sequence[Words]" = ()
    ) -> list[Understanding]:
        """Decode both outputs of B texts.

        Raises:
            IntegrityError: see `ClassCodec` and `SlotCodec`.
        """
        return [
            Understanding(
                one.label,
                one.index,
                one.confidence,
                one.probabilities,
                one.rejected,
                names=one.names,
                slots=tagged.slots,
            )
            for one, tagged in zip(self._intent(outputs), self._tagger(outputs, words), strict=True)
        ]

    def keep(self, answer: Understanding, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """Both records side by side."""
        intent, arrays = self._intent.keep(answer, case)
        slots, more = self._tagger.keep(Tagging(answer.slots), case)
        return intent | slots, arrays | more

    def say(self, answer: Understanding) -> str:
        """The intent."""
        return self._intent.say(answer)

    def cells(self, answer: Understanding) -> list[str]:
        """The intent, then each slot."""
        return self._intent.cells(answer) + self._tagger.cells(Tagging(answer.slots))
