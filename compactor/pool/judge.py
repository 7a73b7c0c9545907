"""Decide which candidates an image copies, by pixels and, where images are large enough, by keypoints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.keypoints import KeypointCheck
from compactor.pool.pixel_check import compare_pixels, is_tiny
from compactor.pool.views import Floats, Images

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """An image copies this row: why."""

    row: int
    check: Literal["exact", "pixels", "keypoints"]
    transform: str
    score: float


class Judge:
    """The checks of pairs, with their thresholds."""

    def __init__(self, settings: NearDuplicateSettings) -> None:
        """Take the thresholds; OpenCV is asked for when the first large image comes."""
        self._settings = settings
        self._keypoints: KeypointCheck | None = None

    def judge(
        self,
        images: Images,
        candidates: Ids,
        *,
        similarity: Floats,
        thumbnails: Floats,
        fetch: Callable[[Ids], Images],
    ) -> list[list[Verdict]]:
        """Find the candidates that each image copies, the best first.

        Args:
            images: [n, H, W, C].
            candidates: rows [n, K] of the others, -1 where there are fewer.
            similarity: cosines of features [n, K].
            thumbnails: correlations of thumbnails [n, K].
            fetch: the others' images by rows.

        Raises:
            MissingDependency: the images are large and the extra `pool` is not installed.
        """
        settings = self._settings
        compared = np.where(thumbnails >= settings.least_thumbnail, candidates, -1)
        pixels = compare_pixels(images, compared, fetch, least_contrast=settings.least_contrast)
        least = settings.tiny_pixels if is_tiny(images) else settings.pixels
        found = []
        for at in range(len(images)):
            order = np.lexsort((candidates[at], -pixels.scores[at]))
            passed = [
                Verdict(
                    int(candidates[at, k]),
                    "pixels",
                    pixels.transform(at, int(k)),
                    float(pixels.scores[at, k]),
                )
                for k in order
                if pixels.scores[at, k] >= least
            ]
            if not passed and self._is_large(images):
                passed = self._by_keypoints(
                    images[at], candidates[at], similarity[at], pixels.scores[at], fetch
                )
            found.append(passed)
        return found

    def _is_large(self, images: Images) -> bool:
        side: int = min(images.shape[1:3])
        return 0 < self._settings.keypoints_from <= side

    def _by_keypoints(
        self,
        image: Images,
        candidates: Ids,
        similarity: Floats,
        scores: Floats,
        fetch: Callable[[Ids], Images],
    ) -> list[Verdict]:
        settings, known = self._settings, candidates >= 0
        chosen: set[int] = set()
        for order, least in ((np.round(similarity, 4), settings.least_similarity), (scores, 0.0)):
            best = np.lexsort((candidates, -order))
            best = best[known[best] & (order[best] >= least)][: settings.keypoint_candidates]
            chosen |= {int(row) for row in candidates[best]}
        if not chosen:
            return []
        if self._keypoints is None:
            self._keypoints = KeypointCheck(settings)
        others = sorted(chosen)
        found = self._keypoints.best(image, others, fetch(np.array(others, np.int64)))
        if found is None:
            return []
        row, transform, share = found
        return [Verdict(row, "keypoints", transform, share)]
