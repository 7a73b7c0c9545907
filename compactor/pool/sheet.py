"""Show a pool in one picture: the surest images of its classes, removed ones beside their matches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening
from compactor.data.datasets import open_dataset
from compactor.data.further_images import Further, decoded_like, open_further
from compactor.data.picked import Picked
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.label_store.unfinished import jobs_of
from compactor.pool.copies import POOL
from compactor.pool.inspect import PoolInspection
from compactor.pool.take import read_scores
from compactor.progress import Reporter
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.files import written_whole

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_CLASSES, BEST = 16, 8
MOST_PAIRS = 32
SIDE, GAP, TEXT = 72, 6, 26  # pixels: of a shown image, between two, and of the text below it
COLUMNS = 8
ABOVE = 22


@dataclass(frozen=True)
class _Tile:
    """Images uint8 [H, W, C] side by side, and what stands below them."""

    images: list[NDArray[np.uint8]]
    text: str


def draw_sheet(found: PoolInspection, path: Path, *, reporter: Reporter) -> None:
    """Write the picture; the images are read from where they were.

    Raises:
        UsageError: the file is not called .png, or sources or data are not there any more.
        MissingDependency: Pillow is not installed.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet {path}: expected a name that ends with .png")
    data, sources = _opened(found, reporter)
    images = Picked([one.images for one in sources])
    kept = [_Tile([images[np.array([number])][0]], text) for number, text in _best(found)]
    pairs = [_pair(found, one, images, data) for one in _some(found.removed)]
    title = f"{found.record.recipe}: {found.record.kept:,} images in the pool, the surest of their classes"
    removed = f"{len(found.removed):,} near-duplicates were removed: each beside what it is a copy of"
    sections = [(title, kept, 1)] + ([(removed, pairs, 2)] if pairs else [])
    picture = _drawn(sections)
    with written_whole(path) as partial:
        picture.save(partial, format="PNG")


def _opened(found: PoolInspection, reporter: Reporter) -> tuple[Dataset, list[Further]]:
    """Open the recipe's data and the sources again.

    Raises:
        UsageError: a source has other contents than it had.
    """
    spec = msgspec.convert(found.record.data["spec"], DataSpec)
    with reporter.bar(f"decode {spec.dataset}", 1) as bar:

        def progress(done: int, total: int) -> None:
            bar.at(done, total=total)

        data = open_dataset(spec, base=Path.cwd(), progress=progress)
        like = decoded_like(spec, data)
        sources = []
        for one in found.parts:
            opening = Opening(Path.cwd(), progress=progress)
            column, key = one.image_column, "pool.sources"
            [source] = open_further(one.dataset, like, opening, image_column=column, key=key)
            if source.digest != one.digest:
                raise UsageError(
                    f"pool {found.file}: {one.dataset} holds other images than when the pool was built; "
                    "build it again, or leave --sheet out"
                )
            sources.append(source)
    return data, sources


def _best(found: PoolInspection) -> list[tuple[int, str]]:
    """Candidates to show, with their texts: of some classes those with the highest score."""
    record, store = found.record, found.scores
    starts = np.cumsum([0, *(one.images for one in record.sources)])
    taken = np.concatenate([one.rows + start for one, start in zip(found.parts, starts, strict=False)])
    [head] = store.header.heads
    numbers, classes, p = [], [], []
    for shard, job in zip(store.train.shards, jobs_of(store.header), strict=True):
        ids = store.train.ids[job.first : job.first + job.rows]
        scores = read_scores(ids, shard[:, 0], store.header.payload, head.name)
        scores = scores.only(np.isin(ids, taken))
        numbers.append(scores.numbers)
        classes.append(scores.classes[:, 0])
        p.append(scores.p[:, 0])
    number, label, score = (np.concatenate(one) for one in (numbers, classes, p))
    shown = _some(np.unique(label).tolist(), MOST_CLASSES)
    found_best = []
    for name in shown:
        mine = np.flatnonzero(label == name)
        best = mine[np.lexsort((number[mine], -score[mine]))][:BEST]
        found_best += [(int(number[one]), f"{record.classes[name]} {score[one]:.3f}") for one in best]
    return found_best


def _pair(found: PoolInspection, one: dict[str, Any], images: Picked, data: Dataset) -> _Tile:
    """A removed candidate beside its match."""
    splits = {split.name: split for split in (data.train, data.select, data.report)}
    place = np.array([one["of"]])
    match = images[place][0] if one["against"] == POOL else splits[one["against"]].inputs[place][0]
    how = "" if one["transform"] == "identity" else one["transform"]
    text = f"{one['against']} {one['of']} {one['score']:.2f} {how or one['check']}"
    return _Tile([images[np.array([one["id"]])][0], match], text)


def _some(items: list[Any], most: int = MOST_PAIRS) -> list[Any]:
    """At most that many of them, evenly spread."""
    if len(items) <= most:
        return items
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, most)]


def _drawn(sections: list[tuple[str, list[_Tile], int]]) -> "Image":
    """Draw sections of tiles, each below its title."""
    with needs_extra("train"):
        from PIL import Image, ImageDraw

    rows = [-(-len(tiles) // (COLUMNS // wide)) for _, tiles, wide in sections]
    height = sum(ABOVE + GAP + count * (SIDE + TEXT) for count in rows) + GAP
    picture = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, height), "white")
    draw, top = ImageDraw.Draw(picture), GAP
    for (title, tiles, wide), count in zip(sections, rows, strict=True):
        draw.text((GAP, top), title, fill="black")
        for index, tile in enumerate(tiles):
            row, column = divmod(index, COLUMNS // wide)
            left, above = GAP + column * wide * (SIDE + GAP), top + ABOVE + row * (SIDE + TEXT)
            for place, image in enumerate(tile.images):
                picture.paste(_scaled(image, Image.fromarray), (left + place * (SIDE + 1), above))
            draw.text((left, above + SIDE + 1), tile.text[: 11 * wide], fill="#404040")
        top += ABOVE + GAP + count * (SIDE + TEXT)
    return picture


def _scaled(image: NDArray[np.uint8], open_image: Callable[[Any], "Image"]) -> "Image":
    """An image of the size that is shown: small ones keep their pixels, large ones are averaged."""
    from PIL.Image import Resampling

    whole = open_image(image[:, :, 0] if image.shape[-1] == 1 else image).convert("RGB")
    large = max(whole.size) > SIDE
    factor = SIDE / max(whole.size)
    size = (max(round(whole.width * factor), 1), max(round(whole.height * factor), 1))
    return whole.resize(size, Resampling.BOX if large else Resampling.NEAREST)
