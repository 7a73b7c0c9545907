"""Pool images that copy reference images, or each other: encoded again, cut, mirrored, brightened.

1. Equal pixels are found by digest.
2. Candidates are the nearest references by the teacher's features and by thumbnails, mirrored ones too.
3. Pixels of candidates are aligned and correlated; keypoints are matched where images are large enough.
What passes 3 is a copy; nothing depends on how the pool is cut.
"""

import tempfile
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compactor.data.copies import pixel_digests
from compactor.data.spec import NearDuplicateSettings
from compactor.pool.earlier import EarlierImages, merged
from compactor.pool.judge import Judge, Verdict
from compactor.pool.neighbours import nearest, unit_rows
from compactor.pool.views import THUMBNAIL, Floats, Images, central, mirrored, thumbnails
from compactor_runtimes.errors import UsageError

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images [n, H, W, C] to features [n, D]."""
Progress = Callable[[int, int], None]
Ids = NDArray[np.int64]
BLOCK = 256


class Match(Struct, frozen=True):
    """Why an image is taken for a copy.

    Attributes:
        reference: Row of the image that it copies.
        check: What decided.
        transform: How the image comes from the reference, as far as seen, such as `flip crop 0.90`.
        score: The deciding check's: 1 (exact), a correlation (pixels), or the share of matched keypoints.
        similarity: Cosine of the features of both.
    """

    reference: int
    check: Literal["exact", "pixels", "keypoints"]
    transform: str
    score: float
    similarity: float


class NearDuplicates:
    """References, ready to be searched; holds features and thumbnails of each, not the pool."""

    def __init__(
        self,
        references: Any,
        embed: Embed,
        *,
        settings: NearDuplicateSettings,
        progress: Progress | None = None,
    ) -> None:
        """Index the references.

        Args:
            references: uint8 [R, H, W, C], an array or a memory map.
            embed: the features of images; those given to `match` must be its own.
            settings: thresholds.
            progress: called with the number of references done and all.
        """
        self._references, self._settings = references, settings
        self._judge = Judge(settings)
        count = len(references)
        features: list[list[Floats]] = [[], [], []]
        small: list[list[Floats]] = [[], []]
        digests: list[NDArray[np.uint64]] = []
        for start in range(0, count, BLOCK):
            images = np.asarray(references[start : start + BLOCK])
            digests.append(pixel_digests(images))
            # a pool's crops lie nearer to the reference's middle than to the whole of it
            for view, seen in enumerate((images, mirrored(images), central(images))):
                features[view].append(unit_rows(embed(np.ascontiguousarray(seen))))
                if view < 2:
                    small[view].append(thumbnails(seen))
            if progress:
                progress(min(start + BLOCK, count), count)
        self._features = np.concatenate([block for view in features for block in view]) if count else None
        self._thumbnails = np.concatenate([block for view in small for block in view]) if count else None
        self._first = _first_rows(np.concatenate(digests)) if count else {}

    def match(self, images: NDArray[np.uint8], features: NDArray[np.float32]) -> list[Match | None]:
        """Say of each image [n, H, W, C] with features [n, D] which reference it copies, if any.

        Raises:
            UsageError: images of another size or number of channels than the references, or other features.
        """
        count = len(self._references)
        if not len(images) or self._features is None or self._thumbnails is None:
            return [None] * len(images)
        _require_alike(images.shape[1:], self._references.shape[1:], "images", "references")
        _require_alike(features.shape[1:], self._features.shape[1:], "features", "features of the references")
        own, index = unit_rows(features), self._features
        near, _ = nearest(own, lambda a, b: index[a:b], len(index), self._settings.neighbours)
        alike = self._similar(images)
        found: list[Match | None] = []
        for start in range(0, len(images), BLOCK):
            part = slice(start, start + BLOCK)
            seen = images[part]
            digests = pixel_digests(seen)
            exact = [self._first.get(int(digest)) for digest in digests]
            by_features = np.where(near[part] >= 0, near[part] % count, -1)
            candidates = merged(by_features, np.where(alike[part] >= 0, alike[part] % count, -1))
            candidates[[row is not None for row in exact]] = -1
            own_small = thumbnails(seen)
            verdicts = self._judge.judge(
                seen,
                candidates,
                similarity=self._cosines(own[part], candidates, index, 3),
                thumbnails=self._cosines(own_small, candidates, self._thumbnails, 2),
                fetch=self._fetch,
            )
            for at, row in enumerate(exact):
                best = (
                    Verdict(row, "exact", "identity", 1.0)
                    if row is not None
                    else next(iter(verdicts[at]), None)
                )
                found.append(None if best is None else self._to_match(best, own[start + at]))
        return found

    def _similar(self, images: Images) -> Ids:
        index, k = self._thumbnails, self._settings.thumbnail_neighbours
        if index is None or not k:
            return np.full((len(images), 1), -1, np.int64)
        parts = [
            nearest(thumbnails(images[at : at + BLOCK]), lambda a, b: index[a:b], len(index), k)[0]
            for at in range(0, len(images), BLOCK)
        ]
        return np.concatenate(parts)

    def _fetch(self, rows: Ids) -> Images:
        return np.asarray(self._references[rows])

    def _cosines(self, own: Floats, candidates: Ids, index: Floats, views: int) -> Floats:
        """Largest product with any view of each candidate [n, K]."""
        count = len(self._references)
        found = [
            np.einsum("nd,nkd->nk", own, index[np.maximum(candidates, 0) + view * count])
            for view in range(views)
        ]
        return np.asarray(np.max(found, axis=0), np.float32)

    def _to_match(self, verdict: Verdict, own: Floats) -> Match:
        assert self._features is not None
        cosine = float(own @ self._features[verdict.row])
        return Match(verdict.row, verdict.check, verdict.transform, verdict.score, round(cosine, 4))


def within(
    images: Any,
    features: Any,
    *,
    settings: NearDuplicateSettings,
    progress: Progress | None = None,
) -> list[Match | None]:
    """Say of each pool image which earlier one, that is itself kept, it copies.

    Args:
        images: uint8 [N, H, W, C], an array or a memory map.
        features: [N, D], likewise.
        settings: thresholds.
        progress: called with the number of images done and all.

    Raises:
        UsageError: there are not as many features as images.
    """
    count = len(images)
    if len(features) != count:
        raise UsageError(f"pool: {len(features):,} features found, expected one for each of {count:,} images")
    if not count:
        return []
    judge = Judge(settings)
    found: list[Match | None] = [None] * count
    copied: dict[int, int] = {}
    with tempfile.TemporaryFile() as file:
        shape = (count, THUMBNAIL * THUMBNAIL * images.shape[3])
        small = np.memmap(file, np.float16, "w+", shape=shape)
        digests = np.empty(count, np.uint64)
        for start in range(0, count, BLOCK):
            block = np.asarray(images[start : start + BLOCK])
            digests[start : start + BLOCK] = pixel_digests(block)
            small[start : start + BLOCK] = thumbnails(block)
        _, first_of = np.unique(digests, return_index=True)
        alive = np.zeros(count, np.bool_)
        alive[first_of] = True
        search = EarlierImages(images, features, small, alive, settings)
        first = _first_rows(digests)
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            verdicts = search.verdicts(rows, judge)
            for row, passed in zip(rows.tolist(), verdicts, strict=True):
                exact = first[int(digests[row])]
                if exact < row:  # equal pixels, hence the same verdict as the first of them
                    found[row] = found[exact] or Match(
                        exact, "exact", "identity", 1.0, search.cosine(row, exact)
                    )
                elif (best := search.kept(row, passed, copied, judge)) is not None:
                    found[row] = Match(
                        best.row, best.check, best.transform, best.score, search.cosine(row, best.row)
                    )
                if (match := found[row]) is not None:
                    copied[row] = match.reference
            if progress:
                progress(int(rows[-1]) + 1, count)
        del search, small
    return found


def _first_rows(digests: NDArray[np.uint64]) -> dict[int, int]:
    """Row of the first image of each digest."""
    values, rows = np.unique(digests, return_index=True)
    return dict(zip(values.tolist(), rows.tolist(), strict=True))


def _require_alike(found: tuple[int, ...], expected: tuple[int, ...], what: str, other: str) -> None:
    if tuple(found) != tuple(expected):
        raise UsageError(
            f"{what}: shape {tuple(found)} each found, expected that of the {other}, {tuple(expected)}; "
            "read both with the same size and colour"
        )
