"""The image tasks: `image-classification`, one label an image, and `image-multi-label`, any number of them.

Raw inputs are image files.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor.data.datasets import Dataset, image_steps, open_dataset
from compactor.data.image_loader import ImageLoader, eval_batches, make_batch
from compactor.data.spec import DataSpec
from compactor.data.splits import Split
from compactor.recipe.spec import StageSpec
from compactor.records import IMAGE_SETS, IMAGES, PIXELS, Batch, Crops, DataInfo, heads_of
from compactor.tasks import posts_of
from compactor_runtimes.bundle.manifest import ImagePre, Post, Pre, ToFloat
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing

EVAL_BATCH = 256


class ImageClassification:
    """See compactor.tasks.Task; image tasks differ in their head alone."""

    is_fixed = False

    def __init__(self, name: str) -> None:
        """Take the head that the task's name stands for."""
        self.name, self.heads = name, heads_of(name)
        self.head = self.heads[0]

    def open(
        self,
        spec: DataSpec,
        *,
        base: Path,
        progress: Callable[[int, int], None] | None = None,
        at_most: int | None = None,
        numbers_of: tuple[str, ...] | None = None,
    ) -> Dataset:
        """Open images and labels."""
        return open_dataset(
            spec, base=base, progress=progress, at_most=at_most, numbers_of=numbers_of, task=self.name
        )

    def loader(self, split: Split, stage: StageSpec, *, seed: int, rank: int, world: int) -> ImageLoader:
        """Cut augmented views from the stored images."""
        return ImageLoader(
            split, batch_size=stage.batch_size, augment=stage.augment, seed=seed, rank=rank, world=world
        )

    def batches(self, split: Split) -> Iterator[Batch]:
        """Yield whole images in order."""
        return eval_batches(split, EVAL_BATCH)

    def each_once(self, split: Split) -> Iterator[Batch]:
        """Yield whole images in order: all are of one size."""
        return self.batches(split)

    def batch(self, split: Split, ids: NDArray[np.int64], crops: Crops | None) -> Batch:
        """Cut the images as recorded, to the stored size."""
        height, width = split.inputs.shape[1:3]
        return make_batch(split, ids, crops, (height, width))

    def raws(self, split: Split, count: int, folder: Path) -> list[Path]:
        """Write PNG files."""
        return write_pngs(split.inputs[split.rows[:count]], folder, prefix=split.name)

    def edge_raws(self, split: Split, folder: Path) -> list[Path]:
        """Write an all-black and an all-white PNG."""
        shape = split.inputs.shape[1:]
        edges = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
        return write_pngs(edges, folder, prefix="edge")

    def pre(self, info: DataInfo) -> list[Pre]:
        """Decode, resize, cut and scale to [0, 1]."""
        return [ImagePre(input=PIXELS, steps=[*image_steps(info), ToFloat()])]

    def post(self, info: DataInfo) -> list[Post]:
        """What the head asks for."""
        return posts_of(self.heads)

    def assets(self, info: DataInfo) -> dict[str, Path]:
        """Return no files."""
        return {}


def write_pngs(images: NDArray[np.uint8], folder: Path, *, prefix: str) -> list[Path]:
    """Write uint8 images [n, H, W, C] as `<folder>/<prefix><number>.png`, losslessly."""
    with needs_extra("train"):
        from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        path = folder / f"{prefix}{number:03d}.png"
        with writing(path):
            Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image).save(path)
        paths.append(path)
    return paths


TASK = ImageClassification(IMAGES)
MULTI_LABEL = ImageClassification(IMAGE_SETS)
