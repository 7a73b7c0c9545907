"""Cut training views from stored images: draw them as recorded boxes, and replay recorded boxes bit for bit.

No step loops over images, and nothing here depends on which other images share the batch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.spec import AugmentSpec
from compactor.records import Crops

TRIES = 10
# float32 fractions of sides up to 4,096 pixels come back within 3e-4 pixels, so what is this close is whole.
SNAP_PIXELS = 1e-3
ROUNDING = 1e-9  # pixels that float64 may lose of a side


def sample_crops(spec: AugmentSpec, n: int, height: int, width: int, rng: np.random.Generator) -> Crops:
    """Draw the views of `n` images.

    Args:
        spec: What to draw. `random-resized` follows torchvision's rule: up to 10 tries for an area and a
            log-uniform ratio that fit, then the largest central part whose ratio is in range; or, with
            `aspect: uniform`, Paddle's (`_fitting_parts`).
        n: Number of images.
        height: Stored height in pixels.
        width: Stored width in pixels.
        rng: Source of all randomness; crops are drawn before flips.

    Returns:
        Boxes of whole pixels, as fractions.
    """
    pixels = np.zeros((n, 4), dtype=np.int64)
    pixels[:, 2:] = height, width
    if spec.crop == "pad":
        pixels[:, :2] = rng.integers(-spec.padding, spec.padding + 1, size=(n, 2))
    elif spec.crop == "random-resized":
        draw = _fitting_parts if spec.aspect == "uniform" else _random_parts
        pixels = draw(spec, n, height, width, rng)
    flip = rng.random(n) < 0.5 if spec.flip else np.zeros(n, dtype=bool)
    return Crops(boxes_from_pixels(pixels, height, width), torch.from_numpy(flip))


def boxes_from_pixels(pixels: NDArray[np.int64], height: int, width: int) -> Tensor:
    """Turn pixel boxes [B, 4] (top, left, height, width) into float32 fractions of the image's sides."""
    return torch.from_numpy((pixels / np.array([height, width, height, width])).astype(np.float32))


def pixels_from_boxes(box: Tensor, height: int, width: int) -> NDArray[np.float64]:
    """Turn fractions [B, 4] into pixels; what lies within float32 noise of whole pixels becomes whole."""
    pixels = box.numpy().astype(np.float64) * np.array([height, width, height, width], dtype=np.float64)
    whole = np.rint(pixels)
    return np.where(np.abs(pixels - whole) < SNAP_PIXELS, whole, pixels)


def apply_crops(images: NDArray[np.uint8], crops: Crops | None, out_height: int, out_width: int) -> Tensor:
    """Cut the recorded views and scale them to the output size.

    A box of the output size is copied pixel by pixel; others are resampled bilinearly with
    align_corners=False and without antialiasing, inside the box (as cutting first and resizing afterwards
    does). What a box covers outside the image is 0. Flipping comes last.

    Args:
        images: uint8 [B, H, W, C].
        crops: The views; absent = the whole image, unflipped.
        out_height: Height of the result in pixels.
        out_width: Width of the result in pixels.

    Returns:
        float32 [B, C, out_height, out_width] in [0, 1].
    """
    count, height, width, channels = images.shape
    if crops is None:
        pixels = np.tile(np.array([0, 0, height, width], dtype=np.float64), (count, 1))
    else:
        pixels = pixels_from_boxes(crops.box, height, width)
    if not count:
        return torch.zeros(0, channels, out_height, out_width)
    whole = bool((pixels == np.rint(pixels)).all())
    if whole and bool((pixels[:, 2:] == (out_height, out_width)).all()):
        views = torch.from_numpy(
            _gather(images, pixels[:, :2].astype(np.int64), out_height, out_width)
        ).float()
    else:
        views = _resample(images, pixels, out_height, out_width)
    views.div_(255)
    if crops is not None and bool(crops.flip.any()):
        views[crops.flip] = views[crops.flip].flip(-1)
    return views


def _random_parts(
    spec: AugmentSpec, n: int, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    area = height * width * rng.uniform(*spec.scale, size=(n, TRIES))
    ratio = np.exp(rng.uniform(np.log(spec.ratio[0]), np.log(spec.ratio[1]), size=(n, TRIES)))
    tried_width = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    tried_height = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (tried_width > 0) & (tried_width <= width) & (tried_height > 0) & (tried_height <= height)
    rows, first = np.arange(n), fits.argmax(axis=1)
    fits_any = fits.any(axis=1)
    central_height, central_width = _central_part(spec, height, width)
    cut_height = np.where(fits_any, tried_height[rows, first], central_height)
    cut_width = np.where(fits_any, tried_width[rows, first], central_width)
    place = rng.random((n, 2))
    top = np.where(fits_any, np.floor(place[:, 0] * (height - cut_height + 1)), (height - cut_height) // 2)
    left = np.where(fits_any, np.floor(place[:, 1] * (width - cut_width + 1)), (width - cut_width) // 2)
    return np.stack([top, left, cut_height, cut_width], axis=1).astype(np.int64)


def _fitting_parts(
    spec: AugmentSpec, n: int, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw parts as PaddleClas' RandCropImage does: whatever is drawn fits, so that nothing is tried twice.

    1. The ratio r = width / height of the part is uniform on `spec.ratio`.
    2. The largest share of the image's area that a part of ratio r can have is b = min(W / (H r), H r / W).
    3. The share a is uniform on [min(low, b), min(high, b)], with `spec.scale` = (low, high).
    4. The part has floor(sqrt(a H W r)) columns and floor(sqrt(a H W / r)) rows, at least one of each.
    5. Its left and top edges are uniform among the whole pixels at which it lies within the image.
    """
    drawn = rng.random((n, 4))
    (low, high), (narrow, wide) = spec.scale, spec.ratio
    ratio = narrow + drawn[:, 0] * (wide - narrow)  # rule 1
    bound = np.minimum(width / (height * ratio), height * ratio / width)  # rule 2
    least = np.minimum(low, bound)
    area = height * width * (least + drawn[:, 1] * (np.minimum(high, bound) - least))  # rule 3
    # Sides that are whole but for rounding stay whole: a part of all columns has all columns.
    cut_width = np.clip(np.floor(np.sqrt(area * ratio) + ROUNDING), 1, width)  # rule 4
    cut_height = np.clip(np.floor(np.sqrt(area / ratio) + ROUNDING), 1, height)
    left = np.floor(drawn[:, 2] * (width - cut_width + 1))  # rule 5
    top = np.floor(drawn[:, 3] * (height - cut_height + 1))
    return np.stack([top, left, cut_height, cut_width], axis=1).astype(np.int64)


def _central_part(spec: AugmentSpec, height: int, width: int) -> tuple[int, int]:
    """Return height and width of the largest part whose ratio is in range."""
    low, high = spec.ratio
    if width / height < low:
        return max(round(width / low), 1), width
    if width / height > high:
        return height, max(round(height * high), 1)
    return height, width


def _gather(
    images: NDArray[np.uint8], corner: NDArray[np.int64], out_height: int, out_width: int
) -> NDArray[np.uint8]:
    """Copy windows of the output size, 0 outside the image: uint8 [B, C, out_height, out_width]."""
    count, height, width, channels = images.shape
    # A window further out than its own size holds zeros only, wherever it lies.
    top = np.clip(corner[:, 0], -out_height, height)
    left = np.clip(corner[:, 1], -out_width, width)
    before = max(-int(top.min()), 0), max(-int(left.min()), 0)
    after = max(int(top.max()) + out_height - height, 0), max(int(left.max()) + out_width - width, 0)
    padded = images
    if any(before) or any(after):
        frame = (count, before[0] + height + after[0], before[1] + width + after[1], channels)
        padded = np.zeros(frame, dtype=np.uint8)
        padded[:, before[0] : before[0] + height, before[1] : before[1] + width] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (out_height, out_width), axis=(1, 2))
    return windows[np.arange(count), top + before[0], left + before[1]]


def _resample(
    images: NDArray[np.uint8], pixels: NDArray[np.float64], out_height: int, out_width: int
) -> Tensor:
    """Resample rows, then columns: float32 [B, C, out_height, out_width] in [0, 255]."""
    count, height, width, channels = images.shape
    source = torch.from_numpy(np.ascontiguousarray(images))
    rows = _mixed(
        source.reshape(count * height, width * channels), pixels[:, 0], pixels[:, 2], height, out_height
    )
    # [B * out_height, W * C] -> [B, W, C, out_height], so that a column is one contiguous run to copy
    columns = rows.view(count, out_height, width, channels).permute(0, 2, 3, 1)
    columns = columns.reshape(count * width, channels * out_height)
    mixed = _mixed(columns, pixels[:, 1], pixels[:, 3], width, out_width)
    views = mixed.view(count, out_width, channels, out_height).permute(0, 2, 3, 1)
    # as `_gather` yields them: convolutions on a CPU are 10 to 20% faster so
    return views.contiguous(memory_format=torch.channels_last)


def _mixed(
    lines: Tensor, start: NDArray[np.float64], length: NDArray[np.float64], side: int, out: int
) -> Tensor:
    """Interpolate between neighbouring lines [B * side, n] at `out` places of each box: float32 [B * out, n].

    A line outside the image has weight 0, and a place on a line takes it with weight exactly 1, so that
    copying and resampling agree to the bit where both apply.
    """
    place = (np.arange(out) + 0.5) * (length[:, None] / out) - 0.5
    place = start[:, None] + np.clip(place, 0, np.maximum(length[:, None] - 1, 0))
    lower = np.floor(place)
    weight = place - lower
    image = np.arange(len(start))[:, None] * side
    result: Tensor | None = None
    for line, share in ((lower, 1 - weight), (lower + 1, weight)):
        share = np.where((line >= 0) & (line < side), share, 0).astype(np.float32)
        index = (image + np.clip(line, 0, side - 1)).astype(np.int64).reshape(-1)
        part = lines.index_select(0, torch.from_numpy(index)).float()
        part *= torch.from_numpy(share.reshape(-1, 1))
        result = part if result is None else result.add_(part)
    assert result is not None
    return result
