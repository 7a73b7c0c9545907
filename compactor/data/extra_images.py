"""`data.also` for images: unlabelled images that are mixed into training.

1. A further source gives all rows of its train part (of a pool those that the pool names), decoded like the
   data set's own images.
2. Images that are equal to one of train, select or report are left out, pixel by pixel: those of select and
   report are what is judged, and those of train are there already. How many is said.
3. What looks like another's copy without being equal is found by `compactor pool build` alone.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening
from compactor.data.further_images import Further, decoded_like, of_size, open_further
from compactor.data.mixed_in import Added, limit_told, limited, mixed_in
from compactor.data.picked import Picked
from compactor.data.spec import DataSpec, SplitName
from compactor.data.splits import Dataset

KEY = "data.also.dataset"


def with_further_images(data: Dataset, spec: DataSpec, opening: Opening) -> Dataset:
    """Append the images of every entry of `spec.also` to the train split; see the rules above.

    Raises:
        UsageError: a further data set is missing, damaged, or holds images of another size.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    known = {split.name: image_digests(data, split.name) for split in (data.train, data.select, data.report)}
    added: list[Added] = []
    images: list[NDArray[np.uint8]] = [data.train.inputs]
    notes: list[str] = []
    for entry in spec.also:
        if entry.text_column != "text":
            warnings.warn("data.also.text_column has no effect on images; remove it", stacklevel=2)
        like = decoded_like(spec, data)
        found = open_further(entry.dataset, like, opening, image_column=entry.image_column, key=KEY)
        of_size(found, data, KEY)
        kept = [one.without(np.concatenate(list(known.values()))) for one in found]
        sizes = np.cumsum([0, *(len(one.images) for one in kept)])
        rows = np.concatenate([one.rows + start for one, start in zip(kept, sizes, strict=False)])
        notes += limit_told(entry, len(rows))
        rows = limited(rows, entry, opening.seed)
        identity = [[one.identity for one in kept], entry.limit, opening.seed]
        added.append(Added(int(sizes[-1]), rows, identity))
        images += [one.images for one in kept]
        notes += [f"also {entry.dataset}: {note}" for note in _told(found, known, len(rows))]
    joined = mixed_in(data, Picked(images), added, spec.also, key=["images"])
    return replace(joined, notes=(*data.notes, *notes))


def image_digests(data: Dataset, name: SplitName) -> NDArray[np.uint64]:
    """Digests [n] of the images of a split, equal for equal pixels."""
    split = {one.name: one for one in (data.train, data.select, data.report)}[name]
    source = data.stored.get(name, data.stored["train"])
    assert source.digests is not None  # of images there always are
    return source.digests[split.rows]


def _told(found: Sequence[Further], known: dict[SplitName, NDArray[np.uint64]], left: int) -> Iterator[str]:
    """What the sources say of themselves, and how many of their images are used."""
    yield from (note for one in found for note in one.notes)
    for name, digests in known.items():
        copies = sum(int(np.isin(one.digests[one.rows], digests).sum()) for one in found)
        if copies:
            yield f"{copies:,} images are equal to images of {name} and left out"
    yield f"{left:,} images are mixed into training without labels"
