"""Decode a source of images once into a memory-mapped uint8 array, and find it again by digest.

Layout: `<root>/data/<digest>/{images.npy, labels.npy, digests.npy, meta.json}`, root being the argument,
`$COMPACTOR_CACHE` or `~/.cache/compactor`. A folder appears by one rename, so concurrent writers only waste
work; one without a readable meta.json is made again.
"""

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.array_folder import publish
from compactor.data.copies import pixel_digests
from compactor.data.few_rows import handful
from compactor.data.labels import Labels
from compactor.data.spec import DataSpec
from compactor.records import IMAGES, DataInfo
from compactor_runtimes.bundle.manifest import CenterCrop, Cover, DecodeImage, ImageStep, Resize
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import new_folder, writing
from compactor_runtimes.predict.decode import count_frames
from compactor_runtimes.predict.images import to_uint8

FORMAT = 1
CACHE_VARIABLE = "COMPACTOR_CACHE"
INSTEAD = f"make room, or set ${CACHE_VARIABLE} to a folder that can be written"
IMAGES_PER_JOB = 256
SHOWN = 3  # broken images that a note names

Progress = Callable[[int, int], None]
Item = tuple[str, bytes | Path]


@dataclass(frozen=True)
class Opening:
    """How to open a data set: recipe folder, cache root, seed of splits, callback (images done, total).

    `task` says whether a row has one label or a set of them.

    `at_most` reads no more than that many rows of each source, of all classes and evenly spread.
    `numbers_of` are a teacher's classes, which integer labels may mean where nobody names them.
    """

    base: Path | None = None
    cache: Path | None = None
    seed: int = 0
    progress: Progress | None = None
    at_most: int | None = None
    numbers_of: tuple[str, ...] | None = None
    task: str = IMAGES


@dataclass(frozen=True)
class Stored:
    """A source as it is trained on: memory-mapped uint8 images [N, H, W, C] or a PackedTexts, and labels.

    `labels` int64 [N], or ones and zeros [N, C], are -100 where there is none; `digest` identifies contents,
    labels and class names.
    `words` int64 [N, W] are labels of words, where there are any. `notes` say what was read otherwise than
    one might think, or not at all. `digests` uint64 [N] are equal for equal images; of texts there are none.
    """

    inputs: Any
    labels: NDArray[np.int64]
    classes: list[str]
    digest: str
    words: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    digests: NDArray[np.uint64] | None = None


@dataclass(frozen=True)
class _Block:
    """Some decoded images uint8 [n, H, W, C], and how many of their files hold more images than the first.

    `broken` says of some places that their images cannot be decoded, and why; there they are black.
    """

    images: NDArray[np.uint8]
    digests: NDArray[np.uint64]
    with_more: int
    broken: dict[int, str]


class Source(Protocol):
    """Encoded images with labels: a set of parquet files, or an image folder."""

    @property
    def name(self) -> str:
        """Path, for messages."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that images and labels depend on, as JSON values (digests instead of paths)."""

    def labels(self) -> Labels:
        """Labels of all rows."""

    def items(self) -> Iterator[Item]:
        """Name (for messages) and encoded image of each row, in order."""

    def notes(self) -> list[str]:
        """What was read otherwise than one might think, or not at all: sentences with counts."""

    def thinned(self, rows: NDArray[np.int64]) -> "Source":
        """The same source with no more than the given ascending rows; nothing else is read."""


def decode_steps(spec: DataSpec) -> list[ImageStep]:
    """Steps from an encoded image to what is stored."""
    steps: list[ImageStep] = [DecodeImage(mode="L" if spec.color == "grey" else "RGB")]
    if spec.image_size is not None:
        steps += [Resize(size=spec.image_size), CenterCrop(height=spec.image_size, width=spec.image_size)]
    return steps


def image_steps(info: DataInfo) -> list[ImageStep]:
    """Steps (without ToFloat) by which any raw image becomes one like those stored: the `pre` of a bundle.

    For the images of the data set itself they give exactly the stored pixels: resizing to the size that an
    image has changes nothing. Any other image is resized until it covers the stored size, and its centre is
    cut.

    Raises:
        UsageError: the data set has no images.
    """
    if info.image is None:
        raise UsageError(f"data of task {info.task!r} has no images, so there are no image steps")
    height, width = info.image.height, info.image.width
    return [
        DecodeImage(mode="L" if info.image.channels == 1 else "RGB"),
        Resize(size=height) if height == width else Cover(height=height, width=width),
        CenterCrop(height=height, width=width),
    ]


def store(source: Source, steps: list[ImageStep], opening: Opening, *, skips: bool = False) -> Stored:
    """Return the decoded source, from the cache or decoded now.

    Args:
        source: what to decode.
        steps: from an encoded image to what is stored.
        opening: where the cache is, and how much is read.
        skips: leave images out that cannot be decoded, and say so, in the place of refusing them.

    Raises:
        UsageError: an image cannot be decoded, images differ in size, labels are out of range, there is no
            row, or the cache folder is no folder.
        UnfitEnvironmentError: the cache folder cannot be written.
    """
    notes = tuple(source.notes())
    if opening.at_most is not None:
        source = source.thinned(handful(source.labels().values, opening.at_most))
    key = {"format": FORMAT, "source": source.fingerprint(), "steps": msgspec.to_builtins(steps)}
    key |= {"unreadable": "skip"} if skips else {}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = cache_root(opening.cache) / "data" / digest
    found = _read(folder, digest)
    if found is not None:
        return replace(found, notes=(*notes, *found.notes))
    try:
        with writing(folder.parent, INSTEAD):
            temporary = new_folder(folder.parent, f".{digest[:16]}.")
    except OSError as error:
        raise UsageError(
            f"cache folder {folder.parent} cannot be written ({error}); set ${CACHE_VARIABLE} to one that can"
        ) from error
    try:
        try:
            _write(source, steps, temporary, key, opening.progress, skips=skips)
        except _Broken as found_broken:
            good = np.setdiff1d(np.arange(len(source.labels().values)), list(found_broken.rows))
            if not len(good):
                raise UsageError(f"{source.name}: no image can be decoded ({found_broken})") from None
            told = f"{found_broken}; they are left out (unreadable: skip)"
            _write(source.thinned(good), steps, temporary, key, opening.progress, skips=False, notes=[told])
        publish(temporary, folder, lambda: _read(folder, digest) is not None)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _read(folder, digest)
    assert found is not None, f"{folder} cannot be read although it has just been written"
    return replace(found, notes=(*notes, *found.notes))


def cache_root(cache: Path | None) -> Path:
    """The cache folder: the one given, `$COMPACTOR_CACHE`, or `~/.cache/compactor`."""
    named = os.environ.get(CACHE_VARIABLE)
    return cache or (Path(named).expanduser() if named else Path.home() / ".cache" / "compactor")


def _read(folder: Path, digest: str) -> Stored | None:
    """Open a cache folder; None if there is none or it is not whole."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        digests = np.load(folder / "digests.npy", allow_pickle=False)
        shape = meta["shape"]
        whole = list(images.shape) == shape and images.dtype == np.uint8
        if not whole or not len(labels) == len(digests) == len(images):
            return None
        return Stored(images, labels, meta["classes"], digest, None, tuple(meta["notes"]), digests)
    except (OSError, ValueError, KeyError, EOFError):
        return None


class _Broken(Exception):
    """Rows of a source cannot be decoded; the message names some."""

    def __init__(self, rows: dict[int, str], total: int) -> None:
        self.rows = rows
        shown = "; ".join(list(rows.values())[:SHOWN])
        more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
        super().__init__(f"{len(rows):,} of {total:,} images cannot be decoded: {shown}{more}")


def _write(
    source: Source,
    steps: list[ImageStep],
    folder: Path,
    key: dict[str, Any],
    progress: Progress | None,
    *,
    skips: bool,
    notes: Sequence[str] = (),
) -> None:
    """Decode a source into a folder.

    Raises:
        _Broken: where images that cannot be decoded are to be left out, and there are some.
    """
    labels = source.labels()
    total = len(labels.values)
    items = source.items()
    ahead, shape = _until_decoded(source.name, items, steps, skips=skips)
    digests, with_more, broken = [], 0, dict[int, str]()
    # Plain writes, not a writable memory map: a full disk then is an OSError instead of a SIGBUS.
    with (folder / "images.npy").open("wb") as file:
        with writing(folder.parent, INSTEAD):
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (total, *shape)}
            )
        done = 0
        for block in _decode_all(chain(ahead, items), steps, ahead[-1][0], shape, skips=skips):
            with writing(folder.parent, INSTEAD):
                file.write(block.images.tobytes())
                file.flush()
            broken |= {done + place: why for place, why in block.broken.items()}
            done += len(block.images)
            digests.append(block.digests)
            with_more += block.with_more
            if progress is not None:
                progress(done, total)
    if done != total:
        raise UsageError(
            f"{source.name}: {done} images but {total} labels found, expected one label an image"
        )
    if broken:
        raise _Broken(broken, total)
    notes = list(notes)
    if with_more:
        notes.append(
            f"{with_more:,} of {total:,} files hold several images (frames or pages): the first is read"
        )
    meta = {"shape": [total, *shape], "classes": labels.classes, "notes": notes, "made_from": key}
    with writing(folder.parent, INSTEAD):
        np.save(folder / "labels.npy", labels.values, allow_pickle=False)
        np.save(folder / "digests.npy", np.concatenate(digests), allow_pickle=False)
        (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def _until_decoded(
    name: str, items: Iterator[Item], steps: list[ImageStep], *, skips: bool
) -> tuple[list[Item], tuple[int, ...]]:
    """Take items up to the first, or the first that can be decoded; return them and the shape of the last.

    Raises:
        UsageError: there is none.
    """
    ahead, problem = list[Item](), "holds no image"
    for item in items:
        ahead.append(item)
        try:
            return ahead, _decode(item, steps).shape
        except UsageError as error:
            if not skips:
                raise
            problem = f"no image can be decoded ({error})"
    raise UsageError(f"{name}: {problem}, expected at least one")


def _decode(item: Item, steps: list[ImageStep]) -> NDArray[np.uint8]:
    name, raw = item
    try:
        return to_uint8(raw, steps)
    except UsageError as error:
        if name in str(error):
            raise
        raise UsageError(f"{name}: {error}") from error


def _decode_all(
    items: Iterator[Item],
    steps: list[ImageStep],
    first_name: str,
    shape: tuple[int, ...],
    *,
    skips: bool,
) -> Iterator[_Block]:
    """Decode in threads (PIL releases the GIL), a bounded number of jobs ahead, and yield blocks in order."""

    def decode_block(block: list[Item]) -> _Block:
        pixels, broken = np.zeros((len(block), *shape), dtype=np.uint8), dict[int, str]()
        for index, item in enumerate(block):
            try:
                image = _decode(item, steps)
            except UsageError as error:
                if not skips:
                    raise
                broken[index] = str(error)
                continue
            if image.shape != shape:
                raise UsageError(
                    f"{item[0]}: image is {list(image.shape)} (height, width, channels) but {first_name} is "
                    f"{list(shape)}, expected one size; set data.image_size"
                )
            pixels[index] = image
        read = [raw for index, (_, raw) in enumerate(block) if index not in broken]
        return _Block(pixels, pixel_digests(pixels), sum(count_frames(raw) > 1 for raw in read), broken)

    workers = len(os.sched_getaffinity(0))
    pending: deque[Future[_Block]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while block := list(islice(items, IMAGES_PER_JOB)):
                pending.append(pool.submit(decode_block, block))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
