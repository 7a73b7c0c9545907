"""Batches of augmented images whose randomness depends on seed, epoch and step alone.

So resuming needs no state, and every world size sees the same global batches. The order of visits is the
sampler's.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.augment import apply_crops, sample_crops
from compactor.data.augment_policy import policy_of, view_seeds
from compactor.data.global_batches import GlobalBatches
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.records import Batch, Crops

# Replays recorded views: (ids int64 [B], epoch) -> their crops
CropSource = Callable[[NDArray[np.int64], int], Crops]


class ImageLoader:
    """Training batches of one split for one of `world` processes."""

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        augment: AugmentSpec,
        seed: int,
        rank: int = 0,
        world: int = 1,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Keep the settings; nothing is read yet.

        Args:
            split: Where images and labels come from.
            batch_size: Samples of a global batch, over all processes.
            augment: How views are cut, and what is done to them afterwards.
            seed: Seed of the views, >= 0.
            rank: Number of this process, 0..world-1.
            world: Number of processes.
            size: Height and width of the views in pixels; absent = the stored size.

        Raises:
            ValueError: batch_size below 1, or a rank outside 0..world-1.
            MissingDependency: a policy needs torchvision, which is not installed.
        """
        self.split, self.augment, self.seed = split, augment, seed
        self.policy = policy_of(augment)
        self.batches = GlobalBatches(batch_size, rank, world)
        height, width = split.inputs.shape[1:3]
        self.size = size or (height, width)

    def __len__(self) -> int:
        """Number of samples of the split."""
        return len(self.split)

    def steps(self, n: int) -> int:
        """Batches of an epoch over `n` positions."""
        return self.batches.steps(n)

    def epoch(
        self, epoch: int, positions: NDArray[np.int64], *, start: int = 0, crops: CropSource | None = None
    ) -> Iterator[Batch]:
        """Yield this process's part of each global batch (see GlobalBatches); it may be empty.

        Args:
            epoch: Number of the epoch, >= 0.
            positions: int64 [n] positions in `split.rows`, in the order to visit.
            start: Number of batches to skip, for resuming.
            crops: Recorded views to replay instead of drawing new ones, asked for the global batch's ids
                (the k-th occurrence of an id in them can so be its k-th view).
        """
        height, width = self.split.inputs.shape[1:3]
        for step, ids, part in self.batches.cut(self.split.rows[positions], start=start):
            # Made for the global batch, so that they do not depend on the number of processes.
            if crops is not None:
                views = crops(ids, epoch)
            else:
                rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, step])))
                views = sample_crops(self.augment, len(ids), height, width, rng)
            batch = make_batch(self.split, ids[part], views.part(part), self.size)
            if self.policy is not None:
                batch = self.policy(batch, view_seeds(self.seed, epoch, step, len(ids))[part])
            yield batch


def eval_batches(split: Split, batch_size: int, size: tuple[int, int] | None = None) -> Iterator[Batch]:
    """Yield all samples of a split in order, whole and unflipped.

    Args:
        split: What to read.
        batch_size: Samples of a batch; the last may be smaller.
        size: Height and width in pixels. Another size than the stored one resamples differently from a
            bundle's preprocessing (no antialiasing); set the stored size instead if the two must agree.
    """
    height, width = split.inputs.shape[1:3]
    for start in range(0, len(split), batch_size):
        yield make_batch(split, split.rows[start : start + batch_size], None, size or (height, width))


def make_batch(split: Split, ids: NDArray[np.int64], views: Crops | None, size: tuple[int, int]) -> Batch:
    """Cut some samples' images to `size` (height, width), as recorded or whole."""
    return Batch(
        x={"pixel_values": apply_crops(split.inputs[ids], views, *size)},
        y={head: torch.from_numpy(labels[ids]) for head, labels in split.labels.items()},
        id=torch.from_numpy(ids),
        crop=views,
    )
