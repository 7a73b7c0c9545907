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


@dataclass(frozen=True)
class PixelViews:
    """Images cut to each box: `vectors` [n, boxes, D] of mean 0 and length 1, `contrast` [n] in grey levels."""

    vectors: Floats
    contrast: Floats


def mirrored(images: Images) -> Images:
    """Flip left and right; [n, H, W, C]."""
    return images[:, :, ::-1]


def central(images: Images, share: float = 0.9) -> Images:
    """Cut the middle out and resize it back; [n, H, W, C] uint8."""
    height, width = images.shape[1:3]
    place = (1 - share) / 2
    rows, columns = (_window(size, size, share, place, 0.5) for size in (height, width))
    cut = _separable(images.astype(np.float32), rows, columns)
    return np.clip(cut + 0.5, 0, 255).astype(np.uint8)


def thumbnails(images: Images) -> Floats:
    """Shrink to 8x8 pixels, of mean 0 and length 1 (0 where nothing varies): [n, 8 * 8 * C]."""
    rows, columns = (_window(size, THUMBNAIL, 1.0, 0.0, 0.5) for size in images.shape[1:3])
    small = _separable(images.astype(np.float32), rows, columns).reshape(len(images), -1)
    return _unit(small - small.mean(1, keepdims=True))


def pixel_views(images: Images, boxes: int = len(BOXES)) -> PixelViews:
    """See images [n, H, W, C] through the first `boxes` of BOXES, without low frequencies."""
    height, width, channels = images.shape[1:]
    axis = AXIS if boxes > 1 else AXIS[:1]
    rows = np.concatenate([_window(height, SIDE, share, (1 - share) * place, 0.6) for share, place in axis])
    columns = np.stack([_window(width, SIDE, share, (1 - share) * place, 0.6) for share, place in axis])
    # rows [axis * S, H] x [n, H, W * C], then the columns of each box: cheaper than each box on its own
    tall = np.matmul(rows, images.reshape(len(images), height, -1).astype(np.float32))
    tall = tall.reshape(len(images), len(axis), SIDE, width, channels)
    seen = np.empty((len(images), boxes, SIDE, SIDE, channels), np.float32)
    for number, (y, x) in enumerate(BOXES[:boxes]):
        seen[:, number] = np.matmul(columns[x], tall[:, y])
    high = seen - _separable(seen.reshape(-1, SIDE, SIDE, channels), _blur(), _blur()).reshape(seen.shape)
    flat = high.reshape(len(images), boxes, -1)
    flat -= flat.mean(2, keepdims=True)
    contrast = np.sqrt(np.square(flat[:, 0]).mean(1))
    return PixelViews(_unit(flat), contrast)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-3), np.float32)


def _separable(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """Weigh rows [h, H] and columns [w, W] of images [n, H, W, C]: [n, h, w, C]."""
    count, height, width, channels = images.shape
    tall = np.matmul(rows, images.reshape(count, height, width * channels))
    found: Floats = np.matmul(columns, tall.reshape(count, len(rows), width, channels))
    return found


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
