"""Match SIFT keypoints of large images and count those that one homography explains; needs OpenCV.

Lowe, Distinctive image features from scale-invariant keypoints (2004), section 7.1: the nearest descriptor
must be clearly nearer than the second one; here it must be mutual, too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.views import Images, mirrored
from compactor_runtimes.errors import needs_extra

RATIO = 0.75
REPROJECTION = 3.0
"""Pixels by which a matched keypoint may miss its place."""
REMEMBERED = 4096


@dataclass(frozen=True)
class Keypoints:
    """Places [n, 2] in pixels and descriptors [n, 128] of length 1."""

    places: NDArray[np.float32]
    descriptors: NDArray[np.float32]


class KeypointCheck:
    """Compares images' keypoints; the others' ones are remembered, up to a bound."""

    def __init__(self, settings: NearDuplicateSettings) -> None:
        """Open OpenCV's SIFT.

        Raises:
            MissingDependency: the extra `pool` is not installed.
        """
        with needs_extra("pool"):
            import cv2
        self._cv2, self._settings = cv2, settings
        sift: Any = cv2  # its stubs lack SIFT
        self._sift = sift.SIFT_create()
        self._known: OrderedDict[int, Keypoints] = OrderedDict()

    def of(self, image: NDArray[np.uint8]) -> Keypoints:
        """Find the keypoints of one image [H, W, C]."""
        grey = image[..., 0] if image.shape[2] == 1 else self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        places, descriptors = self._sift.detectAndCompute(np.ascontiguousarray(grey), None)
        if descriptors is None:
            return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.float32))
        length = np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
        return Keypoints(np.array([one.pt for one in places], np.float32), descriptors / length)

    def best(
        self, image: NDArray[np.uint8], others: list[int], fetched: Images
    ) -> tuple[int, str, float] | None:
        """Find the candidate with the largest share of explained keypoints, among those that are copies.

        Args:
            image: [H, W, C].
            others: rows of the candidates.
            fetched: their images.

        Returns:
            Row, transform, and matched keypoints as a share of the image that has fewer.
        """
        found: tuple[int, str, float] | None = None
        seen = [("keypoints", self.of(image)), ("flip keypoints", self.of(mirrored(image[None])[0]))]
        for row, other in zip(others, fetched, strict=True):
            theirs = self._remember(row, other)
            for transform, ours in seen:
                share = self.share(ours, theirs)
                if share is not None and (found is None or share > found[2]):
                    found = (row, transform, share)
        return found

    def share(self, ours: Keypoints, theirs: Keypoints) -> float | None:
        """Return inliers as a share of the smaller number of keypoints; None if they make no copy."""
        settings = self._settings
        fewer = min(len(ours.places), len(theirs.places))
        if fewer < settings.least_inliers:
            return None
        pairs = _mutual(ours.descriptors, theirs.descriptors)
        if len(pairs) < settings.least_inliers:
            return None
        self._cv2.setRNGSeed(0)
        matrix, inside = self._cv2.findHomography(
            theirs.places[pairs[:, 1]], ours.places[pairs[:, 0]], self._cv2.RANSAC, REPROJECTION
        )
        if matrix is None or not _is_plausible(matrix):
            return None
        # several keypoints of one place (SIFT gives one each orientation) are one witness
        count = len(np.unique(np.round(ours.places[pairs[inside[:, 0] > 0, 0]]), axis=0))
        share = count / fewer
        enough = share >= settings.inlier_share and count >= settings.least_inliers
        return round(share, 4) if enough or count >= settings.inliers else None

    def _remember(self, row: int, image: NDArray[np.uint8]) -> Keypoints:
        found = self._known.pop(row, None) or self.of(image)
        self._known[row] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def _mutual(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pairs [n, 2] that are each other's nearest, and nearer than RATIO of the second nearest."""
    product = ours @ theirs.T
    nearest, back = product.argmax(1), product.argmax(0)
    rows = np.flatnonzero(back[nearest] == np.arange(len(ours)))
    two = (
        -np.partition(-product[rows], 1, axis=1)[:, :2] if product.shape[1] > 1 else product[rows][:, [0, 0]]
    )
    distance = np.sqrt(np.maximum(2 - 2 * two, 0))
    clear = distance[:, 0] < RATIO * distance[:, 1]
    return np.stack([rows[clear], nearest[rows[clear]]], 1)


def _is_plausible(matrix: NDArray[Any]) -> bool:
    """Tell whether a homography keeps orientation, size to a factor of 2, and is hardly in perspective."""
    area = float(np.linalg.det(matrix[:2, :2]))
    return 0.25 <= area <= 4 and float(np.abs(matrix[2, :2]).max()) < 0.005
