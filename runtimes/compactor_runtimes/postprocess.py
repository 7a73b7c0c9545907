"""Turn logits into labelled predictions, as the manifest's `post` declares."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.manifest import SoftmaxPost

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


def decoder_from(
    post: Sequence[SoftmaxPost], labels: Mapping[str, list[str]]
) -> "Callable[[Mapping[str, NDArray[Any]]], list[Prediction]]":
    """Return the function from graph outputs to one prediction a sample that a manifest's `post` declares.

    Raises:
        UsageError: not exactly one entry.
    """
    if len(post) != 1:
        raise UsageError(f"post: {len(post)} entries found, exactly one expected to make a prediction")
    decode = Decoder(post[0], labels[post[0].labels])
    return lambda outputs: decode(outputs[decode.output])
