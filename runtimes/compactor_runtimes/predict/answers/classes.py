"""One class of several: decoded from logits, kept in golden cases, compared and said."""

from collections.abc import Mapping, Sequence
from math import tanh
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.bundle.manifest import SoftmaxPost
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.golden.findings import Allowed, Finding
from compactor_runtimes.stats.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = Mapping[str, NDArray[Any]]


class Prediction(Struct, frozen=True, eq=False):
    """The most probable class of one input, and the probabilities float32 [C] of all.

    `truncated` says that a text was cut to the tokens that the model takes. Compared by identity, because
    arrays have no single truth value.
    """

    label: str
    index: int
    confidence: float
    probabilities: "NDArray[np.float32]"
    truncated: bool = False


class StoredClass(Struct, frozen=True):
    """What a golden case stores of a class, after decoding."""

    label: str
    index: int
    confidence: float


class ClassCodec:
    """Logits -> predictions with the labels of one output; see `Codec`."""

    reads_words = False
    fits_a_line = True

    def __init__(self, post: SoftmaxPost, labels: Mapping[str, list[str]]) -> None:
        """Bind the label list, whose order is the order of the classes."""
        self.output, self._list = post.output, post.labels
        self.labels = labels[post.labels]

    def __call__(self, outputs: "Arrays", words: "Sequence[Words]" = ()) -> list[Prediction]:
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

    def keep(self, answer: Prediction, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """Label, index and confidence; the probabilities follow from the stored logits."""
        return msgspec.to_builtins(StoredClass(answer.label, answer.index, answer.confidence)), {}

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> StoredClass:
        """Read what `keep` made.

        Raises:
            msgspec.ValidationError: it is something else.
        """
        return msgspec.convert(kept, StoredClass)

    def describe(self) -> str:
        """From logits to a label."""
        return f"{self.output} -> softmax -> one of the labels {self._list!r}"

    def limit(self, rounding: float, of_output: float, *, exact: bool) -> float:
        """Of a probability."""
        return probability_limit(rounding, of_output, exact=exact)

    def compare(
        self,
        found: "Arrays",
        stored: StoredClass,
        expected: "Arrays",
        words: "Sequence[Words]",
        *,
        allowed: Allowed,
        what: str,
    ) -> Finding:
        """Label, index and confidence are the stored ones, or two classes were tied in the stored logits."""
        answer, scores = self(found)[0], expected[self.output][0]
        value = abs(answer.confidence - stored.confidence)
        same = (answer.label, answer.index) == (stored.label, stored.index)
        known = 0 <= stored.index < len(scores) == len(answer.probabilities)
        tied = (
            known
            and answer.index != stored.index
            and bool(abs(scores[stored.index] - scores[answer.index]) < allowed.tie)
        )
        return Finding(
            (same or tied) and value <= allowed.limit,
            value,
            allowed.limit,
            f"{what}: {answer.label!r} (class {answer.index}) at {answer.confidence:.4f} found, "
            f"{stored.label!r} (class {stored.index}) at {stored.confidence:.4f} expected, confidence within "
            f"{allowed.limit:.3g}",
        )

    def say(self, answer: Prediction) -> str:
        """The label."""
        return answer.label

    def cells(self, answer: Prediction) -> list[str]:
        """Label and confidence."""
        return [answer.label, f"{answer.confidence:.4f}"]

    def fields(self, answer: Prediction) -> dict[str, Any]:
        """Everything, with all probabilities."""
        return {
            "label": answer.label,
            "index": answer.index,
            "confidence": answer.confidence,
            "probabilities": answer.probabilities.tolist(),
        }


def probability_limit(rounding: float, of_output: float, *, exact: bool) -> float:
    """How far a probability may lie from the stored one: by rounding, or as far as the logits' limit allows.

    Logits that may differ by l move a probability by tanh(l / 2) at most.
    """
    return rounding if exact else max(rounding, tanh(of_output / 2))
