"""Another random share of the training samples in every epoch.

Okanovic et al., "Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning" (RS2, ICLR 2024).
"""

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from compactor.records import Training
from compactor.samplers import FEWEST, SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.trainer.contracts import Sampler

SALT = 6  # keeps the orders apart from other draws that have the same seed


class Options(SamplerOptions, frozen=True, kw_only=True):
    """Each epoch takes the next `round(share * n)` samples of a shuffled order, which begins anew at its end.

    With `replacement` every epoch draws from all samples, whatever those before it took. An epoch is as long
    as the share, so that schedules are compressed by themselves.
    """

    share: Annotated[float, Meta(gt=0, le=1)]
    replacement: bool = False

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "FreshSubset":
        """Make the sampler."""
        return FreshSubset(self.share, seed, replacement=self.replacement)


class FreshSubset(Sampler):
    """`round(share * n)` samples an epoch and at least 2.

    1. Without replacement, epoch e takes the places e k .. e k + k - 1 of one order after the other, each a
       permutation of all samples: after E epochs each was taken floor or ceil of E k / n times. Where an
       order ends within an epoch, the next one may bring a sample again.
    2. With replacement, epoch e takes the first k of a permutation of its own: no sample twice.
    """

    def __init__(self, share: float, seed: int, *, replacement: bool = False) -> None:
        """Set the share in (0, 1], the seed of the orders, and whether each epoch draws from all samples."""
        self.share, self.seed, self.replacement = share, seed, replacement

    def samples(self, n: int, epoch: int = 0) -> int:
        """Size k of the share."""
        return min(max(round(self.share * n), FEWEST), n)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Take an epoch's places; orders span epochs, so they come from the seed and not from `rng`."""
        count = self.samples(n)
        if self.replacement:
            return rng.permutation(n)[:count]
        first = epoch * count
        rounds = range(first // n, (first + count - 1) // n + 1)
        orders = np.concatenate([self._order(number, n) for number in rounds])
        start = first - rounds.start * n
        return orders[start : start + count]

    def _order(self, number: int, n: int) -> NDArray[np.int64]:
        """The `number`-th permutation of all samples."""
        seeds = np.random.SeedSequence([self.seed, SALT, number])
        return np.random.Generator(np.random.Philox(seeds)).permutation(n)
