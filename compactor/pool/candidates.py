"""The images that a pool is chosen from: all sources of the recipe's part `pool`, without its own rows.

Candidates are numbered through the sources in their order; rows that the recipe trains, selects or reports on
are none.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening
from compactor.data.datasets import DATASETS, find_parts
from compactor.data.further_images import (
    POOL_SUFFIX,
    Further,
    decoded_like,
    of_size,
    open_further,
)
from compactor.data.image_folder import open_folder
from compactor.data.picked import Picked
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset, Split
from compactor.locate import locate
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import PoolSourceSpec
from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class Candidates:
    """Opened sources; `own` [S] are how many rows of each belong to the recipe's splits and are left out."""

    sources: list[Further]
    columns: list[str]
    places: list[str]
    own: list[int]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Number of the first image of each source, and of all images [S + 1]."""
        return np.cumsum([0, *(len(one.images) for one in self.sources)]).astype(np.int64)

    @cached_property
    def images(self) -> Picked:
        """All images of all sources, one after the other."""
        return Picked([one.images for one in self.sources])

    @cached_property
    def split(self) -> Split:
        """The candidates as a split: `rows` int64 [n] ascending are their numbers."""
        pairs = zip(self.sources, self.starts, strict=False)
        rows = np.concatenate([one.rows + start for one, start in pairs])
        digest = hashlib.sha256(b"pool 1\n")
        for one in self.sources:
            digest.update(" ".join(one.identity).encode() + b"\n")
        return Split("train", self.images, {}, rows, digest.hexdigest())

    def place(self, number: int) -> tuple[int, int]:
        """Source and row in it of a candidate."""
        source = int(np.searchsorted(self.starts, number, side="right")) - 1
        return source, number - int(self.starts[source])

    def rows_of(self, numbers: NDArray[np.int64], source: int) -> NDArray[np.int64]:
        """Rows of one source among some ascending candidates."""
        first, end = np.searchsorted(numbers, self.starts[source : source + 2])
        rows: NDArray[np.int64] = numbers[first:end] - self.starts[source]
        return rows


def open_candidates(loaded: LoadedRecipe, data: Dataset, reporter: Reporter) -> Candidates:
    """Open all sources, decoded once like the recipe's own images.

    Args:
        loaded: a recipe with a part `pool`.
        data: the recipe's data, without what is mixed into them.
        reporter: where progress goes.

    Raises:
        UsageError: a source is missing, has images of another size, is named twice, or nothing is left.
    """
    recipe = loaded.recipe
    assert recipe.pool is not None
    like = decoded_like(recipe.data, data)
    found: list[Further] = []
    columns, places, own = [], [], []
    for index, entry in enumerate(recipe.pool.sources):
        key = f"pool.sources.{index}.dataset"
        source = _open(loaded, entry, like, reporter, key)
        of_size([source], data, key)
        if source.digest in [one.digest for one in found]:
            raise UsageError(f"{key}: {entry.dataset} is named twice; remove one of the two entries")
        rows = _own_rows(data, source.digest)
        kept = replace(source, rows=np.setdiff1d(source.rows, rows))
        found.append(kept)
        columns.append(entry.image_column or recipe.data.image_column)
        places.append(full_place(entry.dataset, loaded.base))
        own.append(len(source.rows) - len(kept.rows))
        for note in source.notes:
            reporter.note(f"note: {entry.dataset}: {note}")
        if own[-1]:
            reporter.note(
                f"note: {entry.dataset}: {own[-1]:,} of {len(source.rows):,} images are rows of "
                "the recipe's own splits and no candidates"
            )
    if not any(len(one.rows) for one in found):
        raise UsageError(
            "pool.sources: no image is left beside the recipe's own rows; name further sources, or limit "
            "data.limit.train"
        )
    return Candidates(found, columns, places, own)


def full_place(dataset: str, base: Path) -> str:
    """Where a data set lies, whatever recipe asks: a full path; names, and ids of the hub, as they are."""
    if dataset in DATASETS:
        return dataset
    try:
        return str(locate(dataset, base, what="pool.sources").resolve())
    except UsageError:  # it has been opened, so it is an id of the hub
        return dataset


def names_of(place: str, column: str) -> Callable[[int], str]:
    """How rows of a source are called for people: files of folders by their names, others by their row."""

    def by_row(row: int) -> str:
        return f"{Path(place).name if '/' in place else place} row {row}"

    if place in DATASETS or not Path(place).is_dir():
        return by_row
    part = find_parts(DataSpec(dataset=place, image_column=column), Opening())["train"]
    if not isinstance(part, Path):
        return by_row
    files = open_folder(part, None).files
    return lambda row: files[row].relative_to(part).as_posix()


def _open(
    loaded: LoadedRecipe, entry: PoolSourceSpec, like: DataSpec, reporter: Reporter, key: str
) -> Further:
    if entry.dataset.endswith(POOL_SUFFIX):
        raise UsageError(
            f"{key}: {entry.dataset} is a pool, which is chosen from sources; name these sources here"
        )
    with reporter.bar(f"decode {entry.dataset}", 1) as bar:
        opening = Opening(
            loaded.base, at_most=loaded.at_most, progress=lambda done, total: bar.at(done, total=total)
        )
        column = entry.image_column or like.image_column
        [source] = open_further(entry.dataset, like, opening, image_column=column, key=key)
    return source


def _own_rows(data: Dataset, digest: str) -> NDArray[np.int64]:
    """Rows of the source with that digest that the recipe's splits use."""
    sources = data.info.extra["sources"]
    splits = [data.train, data.select, data.report]
    rows = [one.rows for one in splits if sources.get(one.name, sources["train"]) == digest]
    return np.concatenate([np.empty(0, dtype=np.int64), *rows])


def data_place(spec: DataSpec, base: Path) -> DataSpec:
    """The recipe's data as they can be opened again from anywhere, without what is mixed into them."""
    report = None if spec.report is None else full_place(spec.report, base)
    return msgspec.structs.replace(spec, also=[], dataset=full_place(spec.dataset, base), report=report)
