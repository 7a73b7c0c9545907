"""How an image is seen before it is compared: cut, mirrored, and shrunk to a few correlated numbers."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]

THUMBNAIL = 8
SIDE = 16
LOW_PASS = 2.0
"""Width in pixels of SIDE of what is taken for lighting and layout, and left out of the pixel check."""
SCALES = (0.95, 0.9, 0.85)
# a box is one axis' (share kept, where the rest is cut off: 0 = all at the end, 1 = all at the start)
AXIS = [(1.0, 0.0)] + [(scale, place) for scale in SCALES for place in (0.0, 0.5, 1.0)]
BOXES = [(0, 0)] + [
    (1 + 3 * scale + y, 1 + 3 * scale + x) for scale in range(len(SCALES)) for y in range(3) for x in range(3)
]
"""Rows and columns, each as an index into AXIS; the first is the whole image."""
_OPPOSITE = [0] + [1 + 3 * scale + 2 - place for scale in range(len(SCALES)) for place in range(3)]
LARGE = 32
"""Pixels that larger images are shrunk to before boxes are cut."""


@dataclass(frozen=True)
class PixelViews:
    """Images cut to each box: `vectors` [n, boxes, C * SIDE * SIDE] of mean 0 and length 1.

    `contrast` [n] is the standard deviation of the whole image, in grey levels. Pixels lie column by column.
    """

    vectors: Floats
    contrast: Floats

    def mirrored(self) -> Floats:
        """See the mirrored images through the same boxes: what was cut on the right is now on the left."""
        count, boxes, size = self.vectors.shape
        opposite = [BOXES.index((y, _OPPOSITE[x])) for y, x in BOXES[:boxes]]
        columns = self.vectors[:, opposite].reshape(count, boxes, -1, SIDE, SIDE)
        return columns[:, :, :, ::-1].reshape(count, boxes, size)


def mirrored(images: Images) -> Images:
    """Flip left and right; [n, H, W, C]."""
    return images[:, :, ::-1]


def central(images: Images, share: float = 0.9) -> Images:
    """Cut the middle out and resize it back; [n, H, W, C] uint8."""
    height, width = images.shape[1:3]
    place = (1 - share) / 2
    rows, columns = (_window(size, size, share, place, 0.5) for size in (height, width))
    cut = np.clip(_separable(images, rows, columns) + 0.5, 0, 255)
    return np.asarray(cut, np.uint8)


def thumbnails(images: Images) -> Floats:
    """Shrink to 8x8 pixels, of mean 0 and length 1 (0 where nothing varies): [n, 8 * 8 * C]."""
    rows, columns = (_window(size, THUMBNAIL, 1.0, 0.0, 0.5) for size in images.shape[1:3])
    small = _separable(images, rows, columns).reshape(len(images), -1)
    return _unit(small - small.mean(1, keepdims=True))


def pixel_views(images: Images, boxes: int = len(BOXES)) -> PixelViews:
    """See images [n, H, W, C] through the first `boxes` of BOXES, without low frequencies."""
    planes = np.moveaxis(images, 3, 1).astype(np.float32)
    if min(images.shape[1:3]) > LARGE:
        for _ in range(2):  # columns, then rows
            size = planes.shape[3]
            planes = np.swapaxes(_read(planes, _window(size, LARGE, 1.0, 0.0, 0.5)), 2, 3)
    count, channels, height, width = planes.shape
    axis = AXIS if boxes > 1 else AXIS[:1]
    seen = np.zeros((count, boxes, channels, SIDE, SIDE), np.float32)
    # low frequencies are read through windows that are blurred as the image would be
    for sign, blur in ((1, np.eye(SIDE, dtype=np.float32)), (-1, _blur())):
        rows = [blur @ _window(height, SIDE, share, (1 - share) * place, 0.6) for share, place in axis]
        columns = [blur @ _window(width, SIDE, share, (1 - share) * place, 0.6) for share, place in axis]
        across = [np.swapaxes(_read(planes, one), 2, 3) for one in columns]
        for number, (y, x) in enumerate(BOXES[:boxes]):
            seen[:, number] += sign * _read(across[x], rows[y])
    flat = seen.reshape(count, boxes, -1)
    flat -= flat.mean(2, keepdims=True)
    contrast = np.sqrt(np.square(flat[:, 0]).mean(1))
    return PixelViews(_unit(flat), contrast)


def _read(planes: Floats, weights: Floats) -> Floats:
    """Weigh the last axis [..., W] by weights [w, W]: [..., w], as one product: many small ones are slow."""
    found: Floats = np.ascontiguousarray(planes).reshape(-1, planes.shape[-1]) @ weights.T
    return found.reshape(*planes.shape[:-1], len(weights))


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-3), np.float32)


def _separable(images: Images, rows: Floats, columns: Floats) -> Floats:
    """Weigh rows [h, H] and columns [w, W] of images [n, H, W, C]: [n, h, w, C]."""
    planes = np.moveaxis(images, 3, 1).astype(np.float32)
    across = np.swapaxes(_read(planes, columns), 2, 3)
    return np.transpose(_read(across, rows), (0, 3, 2, 1))


@lru_cache(maxsize=256)
def _window(size_in: int, size: int, share: float, start: float, width: float) -> Floats:
    """Weights [size, size_in] that read `share` of an axis from `start` on, blurred to the step's `width`."""
    step = share * size_in / size
    centres = start * size_in + (np.arange(size) + 0.5) * step - 0.5
    distance = (np.arange(size_in)[None] - centres[:, None]) / (max(1.0, step) * width)
    weights = np.exp(-0.5 * np.square(distance))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


@lru_cache(maxsize=1)
def _blur() -> Floats:
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)[None]
    weights = np.exp(-0.5 * np.square(distance / LOW_PASS))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
