"""Turn graph outputs into predictions, embeddings or slots, as the manifest's `post` declares.

All decoders are called alike: with the graph's outputs by name, and with the words of the texts, which those
that find slots read and the others leave alone.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec import Struct

from compactor_runtimes.bundle.manifest import BioPost, EmbeddingPost, Post, SoftmaxPost
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.slots import OUTSIDE, Slot, slots

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Outputs = Mapping[str, NDArray[Any]]


class Prediction(Struct, frozen=True, eq=False):
    """The most probable class of one input, and the probabilities float32 [C] of all.

    Compared by identity, because arrays have no single truth value.
    """

    label: str
    index: int
    confidence: float
    probabilities: "NDArray[np.float32]"


class Embedding(Struct, frozen=True, eq=False):
    """The vector float32 [D] of one input; compared by identity, as `Prediction` is."""

    vector: "NDArray[np.float32]"


class Tagging(Struct, frozen=True):
    """The slots of one text, in order."""

    slots: list[Slot]


class Understanding(Prediction, frozen=True, eq=False):
    """The most probable intent of one text, and its slots in order."""

    slots: list[Slot]


Answer: TypeAlias = Prediction | Embedding | Understanding | Tagging
"""What a bundle says on one input: a class, a vector, an intent with slots, or slots."""

Answers: TypeAlias = list[Prediction] | list[Embedding] | list[Understanding] | list[Tagging]
"""One answer an input."""


class Decode(Protocol):
    """From the outputs of a batch to one answer a sample; `words` is needed if `reads_words`."""

    reads_words: bool

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> Answers:
        """Decode the outputs [B, ...]; `words` are those of the B texts.

        Raises:
            IntegrityError: an output of another shape than the manifest's labels and the texts expect.
        """


def softmax(logits: "NDArray[Any]") -> "NDArray[np.float32]":
    """Softmax over the last axis in float32, without overflow for any finite logits.

    Args:
        logits: [..., C] of any float type.

    Returns:
        float32 [..., C], each row summing to 1.
    """
    import numpy as np

    shifted = logits.astype(np.float32, copy=False)
    powers: NDArray[np.float32] = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


class Decoder:
    """Logits -> predictions with the labels of one output."""

    reads_words = False

    def __init__(self, post: SoftmaxPost, labels: list[str]) -> None:
        """Bind the label list, whose order is the order of the classes."""
        self.output = post.output
        self.labels = labels

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> list[Prediction]:
        """Decode logits [B, C] to B predictions.

        Raises:
            IntegrityError: C is not the number of labels.
        """
        logits, labels = outputs[self.output], self.labels
        if logits.ndim != 2 or logits.shape[1] != len(labels):
            raise IntegrityError(
                f"output {self.output!r}: shape {logits.shape} found, [B, {len(labels)}] expected "
                "by the label list; export the bundle again"
            )
        predictions = []
        for row in softmax(logits):
            index = int(row.argmax())
            predictions.append(Prediction(labels[index], index, float(row[index]), row))
        return predictions


class Embedder:
    """Values of an embedding output -> vectors, of length 1 if the manifest says so."""

    reads_words = False

    def __init__(self, post: EmbeddingPost) -> None:
        """Bind what the manifest declares."""
        self.output = post.output
        self.normalize = post.normalize

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> list[Embedding]:
        """Decode [B, D] to B embeddings; a vector of zeros stays one.

        Raises:
            IntegrityError: not two axes.
        """
        import numpy as np

        values = outputs[self.output]
        if values.ndim != 2:
            raise IntegrityError(
                f"output {self.output!r}: shape {values.shape} found, [B, D] expected of an embedding; "
                "export the bundle again"
            )
        vectors = values.astype(np.float32, copy=False)
        if self.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return [Embedding(row) for row in vectors]


class Tagger:
    """Logits of tokens -> slots with character offsets, by the first token of each word."""

    reads_words = True

    def __init__(self, post: BioPost, labels: list[str]) -> None:
        """Bind the list of BIO labels, whose order is the order of the classes."""
        self.output = post.output
        self.labels = labels

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> list[Tagging]:
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
        confidences = softmax(rows).max(axis=-1).tolist()
        found, start = [], 0
        for each in words:
            end = start + len(each.bounds)
            found.append(Tagging(slots(each.text, each.bounds, labels[start:end], confidences[start:end])))
            start = end
        return found


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


class Understander:
    """Logits of a text and of its tokens -> its intent with its slots."""

    reads_words = True

    def __init__(self, intent: Decoder, tagger: Tagger) -> None:
        """Bind the two."""
        self._intent, self._tagger = intent, tagger

    def __call__(self, outputs: "Outputs", words: "Sequence[Words]" = ()) -> list[Understanding]:
        """Decode both outputs of B texts.

        Raises:
            IntegrityError: see `Decoder` and `Tagger`.
        """
        return [
            Understanding(one.label, one.index, one.confidence, one.probabilities, tagged.slots)
            for one, tagged in zip(self._intent(outputs), self._tagger(outputs, words), strict=True)
        ]


def open_decoder(post: Post, labels: Mapping[str, list[str]]) -> Decoder | Embedder | Tagger:
    """Return the decoder of one entry of a manifest's `post`."""
    if isinstance(post, SoftmaxPost):
        return Decoder(post, labels[post.labels])
    return Tagger(post, labels[post.labels]) if isinstance(post, BioPost) else Embedder(post)


def decoder_from(post: Sequence[Post], labels: Mapping[str, list[str]]) -> Decode:
    """Return the function from graph outputs to one answer a sample that a manifest's `post` declares.

    Raises:
        UsageError: neither one entry nor a class with slots.
    """
    decoders = [open_decoder(each, labels) for each in post]
    match decoders:
        case [one]:
            return one
        case [Decoder() as intent, Tagger() as tagger]:
            return Understander(intent, tagger)
    kinds = ", ".join(str(type(each).__struct_config__.tag) for each in post) or "none"
    raise UsageError(f"post: {kinds} found, expected one entry, or softmax and bio, to give an answer")
