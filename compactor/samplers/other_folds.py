"""All training samples but those of one fold: what a teacher is trained on that labels this fold."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from compactor.data.folds import FEWEST, fewest_trained_on, fold_of_each
from compactor.data.splits import Split
from compactor.records import Count, Training
from compactor.samplers import SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.trainer.contracts import Sampler
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class Options(SamplerOptions, frozen=True, kw_only=True):
    """Of `folds` folds of each class alike, all but the `fold`-th (counted from 1) are visited."""

    fold: Count
    folds: Annotated[int, Meta(ge=2)]

    def __post_init__(self) -> None:
        """Check that the fold is one of the folds.

        Raises:
            ValueError: it is not.
        """
        if self.fold > self.folds:
            raise ValueError(f"fold: got {self.fold}, expected 1 to {self.folds}, as many as folds says")

    def check_rows(self, split: Split, at: str, *, smoke: bool) -> None:
        """Check that each fold has samples and leaves some.

        Raises:
            UsageError: it does not.
        """
        if self.folds > len(split) or fewest_trained_on(split, self.folds) < FEWEST:
            raise UsageError(
                f"{at}: {self.folds} folds of {len(split):,} training samples found, expected a sample in "
                f"each and {FEWEST} outside it; lower the folds (labels.cross_fit), or give more samples"
            )

    def kept(self, split: Split, seed: int) -> NDArray[np.int64]:
        """Positions outside the fold."""
        return np.flatnonzero(fold_of_each(split, self.folds) != self.fold - 1)

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "OtherFolds":
        """Make the sampler."""
        return OtherFolds(self)


class OtherFolds(Sampler):
    """An epoch visits every sample outside the fold once and is as much shorter."""

    def __init__(self, options: Options) -> None:
        """Set the fold."""
        self.options = options
        self.chosen = np.empty(0, np.int64)

    def fit(self, split: Split, teachers: "Teachers | None") -> None:
        """Find the samples outside the fold."""
        self.chosen = self.options.kept(split, 0)

    def samples(self, n: int, epoch: int = 0) -> int:
        """Number of samples outside the fold."""
        return len(self.chosen)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Permute them."""
        return rng.permutation(self.chosen)
