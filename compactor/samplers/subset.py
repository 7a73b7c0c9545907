"""The same random share of the training samples in every epoch, in a fresh random order."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from compactor.data.splits import Split, proportional_part
from compactor.records import Training
from compactor.samplers import FEWEST, SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.trainer.contracts import Sampler

if TYPE_CHECKING:
    from compactor.teachers import Teachers

SALT = 5  # keeps the draw apart from those of the splits, which may have the same seed


class Options(SamplerOptions, frozen=True, kw_only=True):
    """`share` of the training samples is kept, of each class alike; which ones hangs on the stage's seed."""

    share: Annotated[float, Meta(gt=0, le=1)]

    def kept(self, split: Split, seed: int) -> NDArray[np.int64]:
        """Draw the subset."""
        count = max(round(self.share * len(split)), FEWEST)
        return proportional_part(class_of_each(split), count, seed=[seed, SALT])

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "Subset":
        """Make the sampler."""
        return Subset(self.share, seed)


def class_of_each(split: Split) -> NDArray[np.int64]:
    """The class of each sample, int64 [n], by the first head with one label a sample; zeros without one."""
    labels = next((one[split.rows] for one in split.labels.values() if one.ndim == 1), None)
    return np.zeros(len(split), np.int64) if labels is None else labels


class Subset(Sampler):
    """`round(share * n)` samples and at least 2, drawn once.

    1. Of each class (of the first head with one label a sample) as many as its share gives, by largest
       remainders; samples without a label are a group of their own, as are all where there is no such head.
    2. An epoch is as long as the subset.
    """

    def __init__(self, share: float, seed: int) -> None:
        """Set the share in (0, 1] and the seed of the draw."""
        self.share, self.seed = share, seed
        self.chosen = np.empty(0, np.int64)

    def fit(self, split: Split, teachers: "Teachers | None") -> None:
        """Draw the subset."""
        self.chosen = Options(share=self.share).kept(split, self.seed)

    def samples(self, n: int, epoch: int = 0) -> int:
        """Size of the subset."""
        return len(self.chosen)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Permute the subset."""
        return rng.permutation(self.chosen)
