"""Images without labels beside a data set's own: found, and decoded like the others.

Labels of such a source are never read; all of its rows are, or those that a pool file names.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening, Stored, decode_steps, store
from compactor.data.datasets import DATASETS, find_parts
from compactor.data.image_folder import open_folder
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.data.table_source import TableSource
from compactor.records import IMAGES
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

POOL_SUFFIX = ".json"


@dataclass(frozen=True)
class Further:
    """One source of unlabelled images.

    `images` uint8 [N, H, W, C] are all of it, memory-mapped, `rows` int64 (ascending) those that are used;
    `digest` identifies the source, `digests` uint64 [N] are equal for equal images.
    """

    name: str
    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    digest: str
    digests: NDArray[np.uint64]
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> list[str]:
        """What tells it from others: the source, and the rows that are used."""
        return [self.digest, hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()]

    def without(self, digests: NDArray[np.uint64]) -> "Further":
        """The same source without the rows whose images are among `digests`."""
        return replace(self, rows=self.rows[~np.isin(self.digests[self.rows], digests)])


def open_further(
    dataset: str, spec: DataSpec, opening: Opening, *, image_column: str | None, key: str
) -> list[Further]:
    """Open a further source of images, or the sources of a pool.

    Args:
        dataset: a named data set (all rows of its train source), a table, a folder, a data set of the hub (of
            these the train part), or a pool file (`pool.json`).
        spec: how images are decoded: its `image_size` and `color`, and `image_column` where none is given.
        opening: where to look; a smoke run reads a few rows.
        image_column: column of the images, in tables.
        key: recipe key that holds `dataset`, for messages.

    Raises:
        UsageError: nothing there, or images of another size.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    if dataset.endswith(POOL_SUFFIX):
        return _open_pool(dataset, spec, opening, key)
    stored = _stored(dataset, spec, opening, image_column or spec.image_column, key)
    rows = np.arange(len(stored.inputs), dtype=np.int64)
    assert stored.digests is not None  # of images there always are
    return [Further(dataset, stored.inputs, rows, stored.digest, stored.digests, stored.notes)]


def of_size(found: Sequence[Further], data: Dataset, key: str) -> None:
    """Refuse images of another size than the data set's.

    Raises:
        UsageError: says which.
    """
    expected = list(data.train.inputs.shape[1:])
    for one in found:
        if list(one.images.shape[1:]) != expected:
            raise UsageError(
                f"{key}: images of {one.name} are {list(one.images.shape[1:])} (height, width, channels), "
                f"those of {data.info.extra['dataset']} {expected}; set data.image_size"
            )


def decoded_like(spec: DataSpec, data: Dataset) -> DataSpec:
    """The spec with the channels that the opened data set turned out to have."""
    return msgspec.structs.replace(spec, color="grey" if data.info.channels == 1 else "rgb")


def _stored(dataset: str, spec: DataSpec, opening: Opening, column: str, key: str) -> Stored:
    if dataset in DATASETS:
        plain = DataSpec(dataset=dataset, image_size=spec.image_size, color=spec.color)
        data: Dataset = lookup(DATASETS, dataset, "data set")(plain, replace(opening, task=IMAGES))
        return replace(data.stored["train"], notes=())  # which tell of its labels
    part: Any = find_parts(DataSpec(dataset=dataset), opening, key=key)["train"]
    if isinstance(part, Path):
        folder = open_folder(part, None)
        unlabelled = replace(folder, class_names=[None] * len(folder.files))
        return store(unlabelled, decode_steps(spec), opening, skips=spec.unreadable == "skip")
    table = TableSource(part, column, "", column_key="image_column")
    return store(table, decode_steps(spec), opening, skips=spec.unreadable == "skip")


def _open_pool(dataset: str, spec: DataSpec, opening: Opening, key: str) -> list[Further]:
    from compactor.data.find_files import locate_data
    from compactor.data.pool_file import BUILD_IT, read_pool

    try:
        path = locate_data(dataset, opening.base, key=key)
    except UsageError as error:
        raise UsageError(f"{error}; {BUILD_IT}") from error
    sources: list[Further] = []
    for part in read_pool(path).parts:
        found = open_further(part.dataset, spec, opening, image_column=part.image_column, key=key)
        [source] = found
        if opening.at_most is not None:  # a smoke run reads other rows
            sources.append(source)
            continue
        if source.digest != part.digest:
            raise UsageError(
                f"{key}: pool {path} was built from other contents of {part.dataset} than are there now, or "
                "for images of another size; build it again with: compactor pool build"
            )
        sources.append(replace(source, rows=part.rows))
    return sources
