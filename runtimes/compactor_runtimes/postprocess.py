"""Turn graph outputs into predictions or embeddings, as the manifest's `post` declares."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.manifest import EmbeddingPost, Post, SoftmaxPost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


Answer: TypeAlias = Prediction | Embedding
"""What a bundle says on one input: a class, or a vector where it is an embedding model."""

Answers: TypeAlias = list[Prediction] | list[Embedding]
"""One answer an input."""


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

    def __init__(self, post: SoftmaxPost, labels: list[str]) -> None:
        """Bind the label list, whose order is the order of the classes."""
        self.output = post.output
        self.labels = labels

    def __call__(self, logits: "NDArray[Any]") -> list[Prediction]:
        """Decode logits [B, C] to B predictions.

        Raises:
            IntegrityError: C is not the number of labels.
        """
        labels = self.labels
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

    def __init__(self, post: EmbeddingPost) -> None:
        """Bind what the manifest declares."""
        self.output = post.output
        self.normalize = post.normalize

    def __call__(self, values: "NDArray[Any]") -> list[Embedding]:
        """Decode [B, D] to B embeddings; a vector of zeros stays one.

        Raises:
            IntegrityError: not two axes.
        """
        import numpy as np

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


def open_decoder(post: Post, labels: Mapping[str, list[str]]) -> Decoder | Embedder:
    """Return the decoder of one entry of a manifest's `post`."""
    return Decoder(post, labels[post.labels]) if isinstance(post, SoftmaxPost) else Embedder(post)


def decoder_from(
    post: Sequence[Post], labels: Mapping[str, list[str]]
) -> "Callable[[Mapping[str, NDArray[Any]]], Answers]":
    """Return the function from graph outputs to one answer a sample that a manifest's `post` declares.

    Raises:
        UsageError: not exactly one entry.
    """
    if len(post) != 1:
        raise UsageError(f"post: {len(post)} entries found, exactly one expected to give an answer")
    decode = open_decoder(post[0], labels)
    return lambda outputs: decode(outputs[decode.output])
