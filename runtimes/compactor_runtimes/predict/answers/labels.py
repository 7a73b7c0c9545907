"""Any number of labels of one sample: decoded from logits, kept in golden cases, compared and said."""

from collections.abc import Mapping, Sequence
from math import tanh
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.bundle.manifest import SigmoidPost
from compactor_runtimes.golden.findings import Allowed, Finding
from compactor_runtimes.predict.answers.classes import logits_of
from compactor_runtimes.predict.answers.record import Record, Scored, top, without_names
from compactor_runtimes.stats.multi_label import THRESHOLD
from compactor_runtimes.stats.sigmoid import sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = Mapping[str, NDArray[Any]]

ROUNDING = 1e-6  # of a stored probability that is computed once more
SHOWN = 3  # labels in the sentence of a check


class LabelSet(Record, frozen=True, eq=False):
    """The labels of one input whose probability reaches their threshold, and the probabilities of all.

    `labels`, `indices` and `confidences` belong together, the most probable first; all are empty where no
    label reaches its threshold. `probabilities` float32 [C] are those of all labels, each by itself: they do
    not sum to 1, and `names` are their names. `truncated` is as in `Prediction`.
    """

    labels: list[str]
    indices: list[int]
    confidences: list[float]
    probabilities: "NDArray[np.float32]"
    truncated: bool = False
    names: list[str] = []

    def top(self, k: int = 5, threshold: float = 0.0) -> list[Scored]:
        """The `k` most probable labels whose probability reaches `threshold`, the most probable first."""
        return top(self.probabilities, self.names, k, threshold)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, but for the names of all labels, which are the model's."""
        return without_names(super().to_dict())


class StoredLabels(Struct, frozen=True):
    """What a golden case stores of the labels of a sample, after decoding."""

    labels: list[str]
    indices: list[int]
    confidences: list[float]


class LabelsCodec:
    """Logits -> label sets with the labels and thresholds of one output; see `Codec`."""

    reads_words = False
    fits_a_line = True

    def __init__(self, post: SigmoidPost, labels: Mapping[str, list[str]]) -> None:
        """Bind the label list, whose order is that of the logits and of the thresholds."""
        import numpy as np

        self.output, self._list = post.output, post.labels
        self.labels = labels[post.labels]
        self.thresholds = np.asarray(post.thresholds or [THRESHOLD] * len(self.labels), np.float32)

    def __call__(self, outputs: "Arrays", words: "Sequence[Words]" = ()) -> list[LabelSet]:
        """Decode logits [B, C] to B label sets.

        Raises:
            IntegrityError: C is not the number of labels.
        """
        logits, labels = logits_of(outputs, self.output, self.labels), self.labels
        answers = []
        for row in sigmoid(logits):
            found = [int(one) for one in (-row).argsort(kind="stable") if row[one] >= self.thresholds[one]]
            names = [labels[one] for one in found]
            answers.append(LabelSet(names, found, [float(row[one]) for one in found], row, names=self.labels))
        return answers

    def keep(self, answer: LabelSet, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """The answered labels; all probabilities follow from the stored logits."""
        return msgspec.to_builtins(StoredLabels(answer.labels, answer.indices, answer.confidences)), {}

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> StoredLabels:
        """Read what `keep` made.

        Raises:
            msgspec.ValidationError: it is something else.
        """
        return msgspec.convert(kept, StoredLabels)

    def describe(self) -> str:
        """From logits to labels, and from where on one is answered."""
        low, high = float(self.thresholds.min()), float(self.thresholds.max())
        above = f"{low:.4g}" if low == high else f"a threshold of its own ({low:.4g} to {high:.4g})"
        return f"{self.output} -> sigmoid -> each of the labels {self._list!r} from {above} on"

    def limit(self, rounding: float, of_output: float, *, exact: bool) -> float:
        """Of a probability: logits that may differ by l move it by tanh(l / 4) at most."""
        return rounding if exact else max(rounding, tanh(of_output / 4))

    def compare(
        self,
        found: "Arrays",
        stored: StoredLabels,
        expected: "Arrays",
        words: "Sequence[Words]",
        *,
        allowed: Allowed,
        what: str,
    ) -> Finding:
        """The probabilities of all labels are those of the stored logits, within the limit.

        What is stored must follow from the stored logits and the thresholds. What is answered now may differ
        where the probabilities differ within their limit: then one lies that close to its threshold.
        """
        answer, known = self(found)[0], self(expected)[0]
        gaps = abs(answer.probabilities.astype("float64") - known.probabilities.astype("float64"))
        value = float(gaps.max())
        follows = self._follows(stored, known)
        return Finding(
            value <= allowed.limit and follows,
            value,
            allowed.limit,
            f"{what}: {_told(answer)} found, {_told(stored)} expected, probabilities within "
            f"{allowed.limit:.3g}"
            + ("" if follows else f"; the stored answer does not follow from {self.describe()}"),
        )

    def _follows(self, stored: StoredLabels, known: LabelSet) -> bool:
        """Whether stored labels are those of the stored logits, up to rounding at a threshold."""
        sizes = {len(stored.labels), len(stored.indices), len(stored.confidences)}
        if len(sizes) > 1 or not all(0 <= one < len(self.labels) for one in stored.indices):
            return False
        if [self.labels[one] for one in stored.indices] != stored.labels:
            return False
        p = known.probabilities
        said = dict(zip(stored.indices, stored.confidences, strict=True))
        if any(abs(float(p[one]) - confidence) > ROUNDING for one, confidence in said.items()):
            return False
        differ = set(said) ^ set(known.indices)
        return all(abs(float(p[one]) - float(self.thresholds[one])) <= ROUNDING for one in differ)

    def say(self, answer: LabelSet) -> str:
        """The labels."""
        return ", ".join(answer.labels) or "no label"

    def cells(self, answer: LabelSet) -> list[str]:
        """Each label with its probability; a dash where there is none."""
        pairs = zip(answer.labels, answer.confidences, strict=True)
        return [f"{label} {confidence:.4f}" for label, confidence in pairs] or ["-"]


def _told(answer: LabelSet | StoredLabels) -> str:
    """An answer in the sentence of a check."""
    pairs = list(zip(answer.labels, answer.confidences, strict=False))
    shown = ", ".join(f"{label!r} at {confidence:.4f}" for label, confidence in pairs[:SHOWN])
    return (shown or "no label") + (f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")
