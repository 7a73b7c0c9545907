"""How the samples that an epoch visits are cut into global batches, and these into the parts of processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GlobalBatches:
    """Global batches of `batch_size` samples over all `world` processes, of which this one is number `rank`.

    A last batch of a single sample is left out, because BatchNorm cannot train on it.
    """

    batch_size: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: batch_size below 1, or a rank outside 0..world-1.
        """
        if self.batch_size < 1:
            raise ValueError(f"batch_size: got {self.batch_size}, expected at least 1")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank: got {self.rank} of world {self.world}, expected 0..{self.world - 1}")

    def steps(self, n: int) -> int:
        """Number of global batches for `n` samples."""
        full, rest = divmod(n, self.batch_size)
        return full + (rest > 1)

    def cut(
        self, visits: NDArray[np.int64], *, start: int = 0
    ) -> Iterator[tuple[int, NDArray[np.int64], slice]]:
        """Yield step, samples and this process's part of each global batch from the `start`-th on.

        A part is empty where there are fewer samples than processes, which so all see as many batches.

        Args:
            visits: int64 [n], the samples in the order to visit.
            start: Number of batches to skip, for resuming.
        """
        for step in range(start, self.steps(len(visits))):
            batch = visits[step * self.batch_size : (step + 1) * self.batch_size]
            yield step, batch, part_of(len(batch), self.rank, self.world)


def part_of(count: int, rank: int, world: int) -> slice:
    """Return the contiguous share of `rank`, divided as np.array_split does."""
    share, extra = divmod(count, world)
    first = rank * share + min(rank, extra)
    return slice(first, first + share + (rank < extra))
