"""Samplers: which samples an epoch visits and in which order, and how much each item of a loss weighs."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compactor.records import Batch, Outputs, Step, Term


class Sampler:
    """Every sample once, in stored order, all weights one; others override what they need.

    All methods must be functions of their arguments alone, so that a resumed run repeats them.
    """

    def span(self, epoch: int) -> int:
        """Return for how many epochs the pass that begins with `epoch` counts."""
        return 1

    def samples(self, n: int, epoch: int = 0) -> int:
        """Return how many samples that pass visits, which sets the length of training."""
        return n

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return positions 0..n-1 to visit, in order; `rng` depends on the seed and the epoch alone."""
        return np.arange(n, dtype=np.int64)

    def weights(self, name: str, term: Term, student: Outputs, batch: Batch, step: Step) -> Tensor | None:
        """Return weights >= 0 of the term's shape (None: ones), for sum(w * loss) / valid count."""
        return None
