"""Epochs that take a fixed share of their samples from each of several data sets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compactor.trainer.contracts import Sampler


class Mixed(Sampler):
    """As many samples as there are rows, `round(share * n)` of each part, all in random order.

    1. A part's samples are drawn without replacement; one that has too few rows begins again, in another
       order.
    2. The first part gives what the others leave.
    3. Nothing is carried over to the next epoch.
    """

    def __init__(self, parts: Sequence[tuple[int, float]]) -> None:
        """Set (rows, share of an epoch) of each part, in the order of their rows."""
        self.parts = tuple(parts)

    def counts(self, n: int) -> list[int]:
        """Samples that an epoch of `n` takes of each part."""
        found: list[int] = []
        for _, share in self.parts[1:]:
            found.append(min(round(share * n), n - sum(found)))  # of few rows, rounding may ask for too many
        return [n - sum(found), *found]

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw an epoch.

        Raises:
            ValueError: `n` is not the number of all rows.
        """
        if n != sum(rows for rows, _ in self.parts):
            raise ValueError(f"n: got {n}, expected {sum(rows for rows, _ in self.parts)}, the parts' rows")
        first, drawn = 0, []
        for (rows, _), count in zip(self.parts, self.counts(n), strict=True):
            rounds = [rng.permutation(rows) for _ in range(-(-count // rows))]
            drawn += [first + part for part in rounds[:-1]]
            drawn += [first + part[: count - rows * (len(rounds) - 1)] for part in rounds[-1:]]
            first += rows
        return rng.permutation(np.concatenate(drawn))
