"""Several views of few images a step, crop-major, with FKD's epoch accounting (arXiv 2112.01528)."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compactor.records import Count, Training
from compactor.samplers import SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.trainer.contracts import Sampler


class Options(SamplerOptions, frozen=True, kw_only=True):
    """`crops_per_image`: recorded crops of an image in a step; a pass counts as that many epochs."""

    needs_store: ClassVar[bool] = True
    crops_per_image: Count = 4

    @property
    def views(self) -> int:
        """Crops of an image in a step."""
        return self.crops_per_image

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "CropMajor":
        """Make the sampler."""
        return CropMajor(self.crops_per_image, stage.batch_size, stage.epochs)


class CropMajor(Sampler):
    """Batches of `batch_size` views: first views of all images of the step, then second views, and so on.

    1. A pass over all images with n views counts as n epochs.
    2. The last n epochs are passes of one view each, as are the epochs that fill up to a multiple of n.
    3. Row r of a batch of I images is view r // I of image r % I.
    """

    def __init__(self, views: int, batch_size: int, epochs: int | None) -> None:
        """Set n, the views of a batch (a multiple of n), and the epochs (None: passes of n until the end)."""
        self.views, self.batch_size, self.epochs = views, batch_size, epochs

    def span(self, epoch: int) -> int:
        """N while more than n epochs are left, then 1."""
        if self.epochs is None:
            return self.views
        return self.views if epoch + self.views <= self.epochs - self.views else 1

    def samples(self, n: int, epoch: int = 0) -> int:
        """Views of the pass that begins with `epoch`."""
        return n * self.span(epoch)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """All images in a fresh order, in blocks of a step's images, each block as often as it has views."""
        views = self.span(epoch)
        order, images = rng.permutation(n), self.batch_size // views
        return np.concatenate(
            [np.tile(order[start : start + images], views) for start in range(0, n, images)]
        )
