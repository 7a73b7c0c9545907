"""What a bundle answers with: one file for each kind, which decodes, keeps, compares and says it.

A new kind is one file with a codec, one line in CODECS and one test.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from compactor_runtimes.bundle.manifest import Post
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.golden.findings import Allowed, Finding
    from compactor_runtimes.predict.answers.classes import Prediction
    from compactor_runtimes.predict.answers.intent_slots import Understanding
    from compactor_runtimes.predict.answers.labels import LabelSet
    from compactor_runtimes.predict.answers.slots import Tagging
    from compactor_runtimes.predict.answers.vector import Embedding
    from compactor_runtimes.predict.text import Words

    Outputs = Mapping[str, NDArray[Any]]

# tag of an entry of `post` -> codec, made of (entry, label lists of the manifest)
CODECS = {
    "softmax": "compactor_runtimes.predict.answers.classes:ClassCodec",
    "sigmoid": "compactor_runtimes.predict.answers.labels:LabelsCodec",
    "embedding": "compactor_runtimes.predict.answers.vector:VectorCodec",
    "bio": "compactor_runtimes.predict.answers.slots:SlotCodec",
}

# tags of entries that make one answer together -> what decodes it, made of their codecs
TOGETHER = {
    ("softmax", "bio"): "compactor_runtimes.predict.answers.intent_slots:IntentSlotCodec",
}

Answer: TypeAlias = "Prediction | LabelSet | Embedding | Understanding | Tagging"
"""What a bundle says on one input: a class, labels, a vector, an intent with slots, or slots."""

Answers: TypeAlias = (
    "list[Prediction] | list[LabelSet] | list[Embedding] | list[Understanding] | list[Tagging]"
)
"""One answer an input."""


class Decode(Protocol):
    """From the outputs of a batch to one answer a sample, and what is kept and said of an answer.

    `words` of the texts are needed if `reads_words`. `labels` are the class names in the order of the logits
    (of an intent with slots the intents), empty for a vector. `fits_a_line` says that `cells` tell it all.
    """

    labels: list[str]
    reads_words: bool
    fits_a_line: bool

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> Answers:
        """Decode the outputs [B, ...] by name; `words` are those of the B texts.

        Raises:
            IntegrityError: an output of another shape than the manifest's labels and the texts expect.
        """

    def keep(self, answer: Any, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """What the golden case named `case` stores of an answer, and the arrays [1, ...] that go with it."""

    def say(self, answer: Any) -> str:
        """An answer in a word or two."""

    def cells(self, answer: Any) -> list[str]:
        """What is printed of an answer on a line."""


class Codec(Decode, Protocol):
    """The kind of answer that one entry of a manifest's `post` declares, read of the output `output`."""

    output: str

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> Any:
        """Read its part of what `keep` made; `array` gives an array of the case by its key.

        Raises:
            msgspec.ValidationError: it is something else.
        """

    def describe(self) -> str:
        """What happens to the output, in words."""

    def limit(self, rounding: float, of_output: float, *, exact: bool) -> float:
        """How far a number of an answer may lie from the stored one.

        Args:
            rounding: what the artifact's precision alone may bring.
            of_output: limit of the artifact's output.
            exact: whether the artifact computes what the student does, up to rounding.
        """

    def compare(
        self,
        found: "Outputs",
        stored: Any,
        expected: "Outputs",
        words: "Sequence[Words]",
        *,
        allowed: "Allowed",
        what: str,
    ) -> "Finding":
        """Judge the outputs [1, ...] that were found for a case.

        Args:
            found: what an artifact gave.
            stored: what `read` gave.
            expected: the stored outputs.
            words: of the case's text, where they are read.
            allowed: how far it may differ.
            what: begins the sentence.

        Raises:
            IntegrityError: see `Decode`.
        """


def open_codec(post: Post, labels: Mapping[str, list[str]]) -> Codec:
    """Return the codec of one entry of a manifest's `post`."""
    codec: Codec = resolve(CODECS[_tag(post)])(post, labels)
    return codec


def reads_words(post: Sequence[Post]) -> bool:
    """Whether an entry's codec needs the words of the texts."""
    return any(resolve(CODECS[_tag(each)]).reads_words for each in post)


def decoder_from(post: Sequence[Post], labels: Mapping[str, list[str]]) -> Decode:
    """Return what turns graph outputs into one answer a sample, as a manifest's `post` declares.

    Raises:
        UsageError: neither one entry nor a class with slots.
    """
    codecs, tags = [open_codec(each, labels) for each in post], tuple(map(_tag, post))
    if len(codecs) == 1:
        return codecs[0]
    if tags in TOGETHER:
        together: Decode = resolve(TOGETHER[tags])(*codecs)
        return together
    raise UsageError(
        f"post: {', '.join(tags) or 'none'} found, expected one entry, or softmax and bio, to give an answer"
    )


def _tag(post: Post) -> str:
    return str(type(post).__struct_config__.tag)
