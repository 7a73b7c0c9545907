"""Every sample once an epoch, in a fresh random order."""

import numpy as np
from numpy.typing import NDArray

from compactor.records import Training
from compactor.samplers import SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.trainer.contracts import Sampler


class Options(SamplerOptions, frozen=True):
    """There are none."""

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "Shuffle":
        """Make the sampler."""
        return Shuffle()


class Shuffle(Sampler):
    """A new permutation each epoch."""

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Permute 0..n-1."""
        return rng.permutation(n)
