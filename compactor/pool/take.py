"""Which candidates are taken: the best of each class, all that are sure enough, or all.

1. An image is a candidate of its P likeliest classes; within a class it is ranked by the probability of that
   class, and of equal ones the lower number comes first. So the outcome does not depend on the order in which
   shards are read.
2. A class takes at most `top`. An image that several classes take is in the pool once.
3. Only what may still be taken is kept in memory: top images of each class.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.label_store.header import Payload
from compactor.label_store.quantization import LEAD
from compactor.recipe.spec import MOST_OF_A_CLASS, PoolTakeSpec

BINS = 20


@dataclass(frozen=True)
class Scores:
    """Some candidates: `numbers` int64 [n], their k likeliest `classes` int64 [n, k], `p` [n, k] of these."""

    numbers: NDArray[np.int64]
    classes: NDArray[np.int64]
    p: NDArray[np.float64]

    def only(self, which: NDArray[np.bool_]) -> "Scores":
        """Those that are marked."""
        return Scores(self.numbers[which], self.classes[which], self.p[which])


@dataclass(frozen=True)
class Taken:
    """The pool: `numbers` int64 ascending, and how many images each class took [C] (rule 2)."""

    numbers: NDArray[np.int64]
    histogram: NDArray[np.int64]


def read_scores(numbers: NDArray[np.int64], records: NDArray[Any], payload: Payload, head: str) -> Scores:
    """Read what a label store says of candidates; place 1 has what is left to 1.

    Args:
        numbers: of the candidates [n].
        records: of the same [n], of kind top-k.
        payload: how they were kept.
        head: name of the head.
    """
    assert payload.kind == "top-k"
    kept = records[f"{head}.p"].astype(np.float64)
    rest = kept[:, 1:]
    first = 1 - kept.sum(1, keepdims=True)
    if payload.k > 1:  # however close the second comes, rounding must not make it the largest
        first = np.maximum(first, rest[:, :1] * LEAD)
    classes = records[f"{head}.ids"].astype(np.int64)
    return Scores(numbers, classes, np.concatenate([first, rest], axis=1))


@dataclass
class Taking:
    """Look at candidates part by part and keep those that are taken so far."""

    spec: PoolTakeSpec
    num_classes: int
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, dtype=np.float64))

    @property
    def top(self) -> int | None:
        """Images that a class takes at most; None = no limit."""
        return self.spec.top or (MOST_OF_A_CLASS if self.spec.by == "score" else None)

    def add(self, part: Scores) -> None:
        """Look at some candidates."""
        if self.spec.by == "confidence":
            assert self.spec.min_confidence is not None
            part = part.only(part.p[:, 0] >= self.spec.min_confidence)
        places = self.spec.classes_per_image
        self.numbers = np.concatenate([self.numbers, np.repeat(part.numbers, places)])
        self.classes = np.concatenate([self.classes, part.classes[:, :places].ravel()])
        self.scores = np.concatenate([self.scores, part.p[:, :places].ravel()])
        if self.top is not None:
            self._keep_best(self.top)

    def result(self) -> Taken:
        """What is taken of all that was looked at."""
        histogram = np.bincount(self.classes, minlength=self.num_classes)
        return Taken(np.unique(self.numbers), histogram.astype(np.int64))

    def _keep_best(self, top: int) -> None:
        order = np.lexsort((self.numbers, -self.scores, self.classes))  # rule 1
        ranked = self.classes[order]
        first = np.searchsorted(ranked, ranked, side="left")
        best = order[np.arange(len(order)) - first < top]
        self.numbers, self.classes, self.scores = self.numbers[best], self.classes[best], self.scores[best]


def confidence_edges() -> NDArray[np.float64]:
    """Borders of the histogram of confidences."""
    return np.arange(BINS + 1) / BINS


def confidence_counts(p: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts [BINS] of largest probabilities [n]; 1 belongs to the last bin."""
    return np.histogram(np.clip(p, 0, 1), bins=confidence_edges())[0].astype(np.int64)
