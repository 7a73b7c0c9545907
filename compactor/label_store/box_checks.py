"""Whether recorded views can have been drawn as the header says."""

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.augment import SNAP_PIXELS, pixels_from_boxes
from compactor.data.spec import AugmentSpec, SplitName
from compactor.label_store.header import Header
from compactor.label_store.store import Records


def boxes_in_pixels(records: Records, header: Header) -> NDArray[np.float64]:
    """Top, left, height and width [..., 4] of the views of `records` [...]."""
    assert header.transform.image is not None
    height, width, _ = header.transform.image
    box = records["box"]
    if header.boxes == "pixels":
        return box.astype(np.float64)
    flat = torch.from_numpy(np.array(box, dtype=np.float32).reshape(-1, 4))
    return pixels_from_boxes(flat, height, width).reshape(box.shape)


def outside_frame(pixels: NDArray[np.float64], header: Header, split: SplitName) -> NDArray[np.bool_]:
    """Which boxes [..., 4] leave their frame or have no area: bool [...].

    Random parts lie within the image; shifted images keep its size and move by at most the padding; what is
    not augmented, as select and report never are, is the whole image.
    """
    assert header.transform.image is not None
    height, width, _ = header.transform.image
    augment = _augment(header, split)
    top, left, rows, columns = np.moveaxis(pixels, -1, 0)
    near = SNAP_PIXELS
    if augment.crop == "random-resized":
        inside = (top >= -near) & (left >= -near) & (rows > 0) & (columns > 0)
        inside &= (top + rows <= height + near) & (left + columns <= width + near)
    else:
        reach = (augment.padding if augment.crop == "pad" else 0) + near
        inside = (np.abs(top) <= reach) & (np.abs(left) <= reach)
        inside &= (np.abs(rows - height) <= near) & (np.abs(columns - width) <= near)
    return ~np.asarray(inside, dtype=np.bool_)


def may_flip(header: Header, split: SplitName) -> bool:
    """Whether a view of the split can be mirrored."""
    return _augment(header, split).flip


def _augment(header: Header, split: SplitName) -> AugmentSpec:
    augment = header.transform.augment if split == "train" else None
    return augment or AugmentSpec()
