"""One class of several: decoded from logits, kept in golden cases, compared and said."""

from collections.abc import Mapping, Sequence
from math import tanh
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.bundle.manifest import SoftmaxPost
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.golden.findings import Allowed, Finding
from compactor_runtimes.predict.answers.record import Record, Scored, top, without_names
from compactor_runtimes.stats.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = Mapping[str, NDArray[Any]]


class Prediction(Record, frozen=True, eq=False):
    """The most probable class of one input, and the probabilities float32 [C] of all.

    `rejected` says that it should not be acted on: its confidence lies below the bundle's threshold, or it is
    the class that means "none of these". `truncated` says that a text was cut to the tokens that the model
    takes. `names` are those of all classes.
    """

    label: str
    index: int
    confidence: float
    probabilities: "NDArray[np.float32]"
    rejected: bool = False
    truncated: bool = False
    names: list[str] = []

    def top(self, k: int = 5, threshold: float = 0.0) -> list[Scored]:
        """The `k` most probable classes whose probability reaches `threshold`, the most probable first."""
        return top(self.probabilities, self.names, k, threshold)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, but for the names of all classes, which are the model's labels."""
        return without_names(super().to_dict())


class StoredClass(Struct, frozen=True, omit_defaults=True):
    """What a golden case stores of a class, after decoding; `rejected` is left out where it is not."""

    label: str
    index: int
    confidence: float
    rejected: bool = False


class ClassCodec:
    """Logits -> predictions with the labels of one output; see `Codec`."""

    reads_words = False
    fits_a_line = True

    def __init__(self, post: SoftmaxPost, labels: Mapping[str, list[str]]) -> None:
        """Bind the label list, whose order is the order of the classes."""
        self.output, self._list = post.output, post.labels
        self.labels = labels[post.labels]
        self._below, self._none = post.reject_below or 0.0, post.reject_label

    def __call__(self, outputs: "Arrays", words: "Sequence[Words]" = ()) -> list[Prediction]:
        """Decode logits [B, C] to B predictions.

        Raises:
            IntegrityError: C is not the number of labels.
        """
        logits, labels = logits_of(outputs, self.output, self.labels), self.labels
        predictions = []
        # numpy is quicker with one axis than with two; iterating over an array costs an IndexError at its end
        rows: Any = [softmax(logits[0])] if len(logits) == 1 else softmax(logits)
        for place in range(len(rows)):
            row = rows[place]
            index = int(row.argmax())
            label, confidence = labels[index], float(row[index])
            rejected = self._rejects(label, confidence)
            predictions.append(Prediction(label, index, confidence, row, rejected, names=labels))
        return predictions

    def _rejects(self, label: str, confidence: float) -> bool:
        """Whether an answer is rejected."""
        return confidence < self._below or label == self._none

    def keep(self, answer: Prediction, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """Label, index, confidence and rejection; the probabilities follow from the stored logits."""
        stored = StoredClass(answer.label, answer.index, answer.confidence, answer.rejected)
        return msgspec.to_builtins(stored), {}

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> StoredClass:
        """Read what `keep` made.

        Raises:
            msgspec.ValidationError: it is something else.
        """
        return msgspec.convert(kept, StoredClass)

    def describe(self) -> str:
        """From logits to a label, and what is rejected."""
        ways = [f"below {self._below:.4g}"] if self._below else []
        ways += [] if self._none is None else [f"as {self._none!r}"]
        rejected = f", rejected {' or '.join(ways)}" if ways else ""
        return f"{self.output} -> softmax -> one of the labels {self._list!r}{rejected}"

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
        """Label, index and confidence are the stored ones, or two classes were tied in the stored logits.

        What was rejected must follow from the stored confidence and label. What is rejected now may differ
        where these differ within their limits: then the confidence lies that close to the threshold.
        """
        answer, scores = self(found)[0], expected[self.output][0]
        value = abs(answer.confidence - stored.confidence)
        same = (answer.label, answer.index) == (stored.label, stored.index)
        known = 0 <= stored.index < len(scores) == len(answer.probabilities)
        tied = (
            known
            and answer.index != stored.index
            and bool(abs(scores[stored.index] - scores[answer.index]) < allowed.tie)
        )
        follows = stored.rejected == self._rejects(stored.label, stored.confidence)
        return Finding(
            (same or tied) and value <= allowed.limit and follows,
            value,
            allowed.limit,
            f"{what}: {_told(answer)} found, {_told(stored)} expected, confidence within {allowed.limit:.3g}"
            + ("" if follows else f"; the stored answer does not follow from {self.describe()}"),
        )

    def say(self, answer: Prediction) -> str:
        """The label."""
        return answer.label

    def cells(self, answer: Prediction) -> list[str]:
        """Label and confidence, and whether it is rejected."""
        return [answer.label, f"{answer.confidence:.4f}", *(["rejected"] if answer.rejected else [])]


def logits_of(outputs: "Arrays", output: str, labels: Sequence[str]) -> "NDArray[Any]":
    """The logits [B, C] of an output, one for each label.

    Raises:
        IntegrityError: C is not the number of labels, or a number is none.
    """
    logits = outputs[output]
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise IntegrityError(
            f"output {output!r}: shape {logits.shape} found, [B, {len(labels)}] expected "
            "by the label list; export the bundle again"
        )
    return finite(logits, output)


def finite(values: "NDArray[Any]", output: str) -> "NDArray[Any]":
    """The numbers themselves; a label of NaN would be an answer like any other.

    Raises:
        IntegrityError: NaN or infinity.
    """
    import numpy as np

    if not np.logical_and.reduce(np.isfinite(values), None):
        raise IntegrityError(
            f"output {output!r}: NaN or infinity found, which is no answer; export the bundle again"
        )
    return values


def _told(answer: Prediction | StoredClass) -> str:
    """An answer in the sentence of a check."""
    rejected = ", rejected," if answer.rejected else ""
    return f"{answer.label!r} (class {answer.index}) at {answer.confidence:.4f}{rejected}"


def probability_limit(rounding: float, of_output: float, *, exact: bool) -> float:
    """How far a probability may lie from the stored one: by rounding, or as far as the logits' limit allows.

    Logits that may differ by l move a probability by tanh(l / 2) at most.
    """
    return rounding if exact else max(rounding, tanh(of_output / 2))
