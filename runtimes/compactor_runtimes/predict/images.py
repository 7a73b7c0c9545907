"""Turn raw samples into the arrays that the graph expects; `decode.py` reads images, `text.py` texts.

Training caches decode through the same `to_uint8`, so a model is served exactly the pixels it was trained on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from compactor_runtimes.bundle.manifest import (
    CenterCrop,
    Cover,
    DecodeImage,
    ImagePre,
    ImageStep,
    Pre,
    Resize,
    ToFloat,
)
from compactor_runtimes.errors import InputError, UsageError, needs_extra
from compactor_runtimes.predict.decode import Raw, to_array, view_of
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Pixels: TypeAlias = NDArray[np.uint8]


def to_uint8(raw: Raw, steps: Sequence[ImageStep]) -> "Pixels":
    """Decode, resize and crop one raw image to uint8 [H, W, C]; a final `ToFloat` is left to the pipeline.

    The cache of training images is filled by this function and serving calls it: both see the same pixels.

    Args:
        raw: the image; see `Raw`.
        steps: `ImagePre.steps`, the first of which decodes.

    Raises:
        UsageError: see `decode_image`; or the image is smaller than the crop, or too long and narrow.
    """
    first = steps[0] if steps else None
    if not isinstance(first, DecodeImage):
        raise UsageError(f"image steps: got {first!r} first, expected decode-image; fix the list of steps")
    view = view_of(raw, first.mode)
    found, shown = _size(view), str(raw) if isinstance(raw, str | Path) else "image"
    for step in steps:
        if isinstance(step, Resize | Cover):
            view = _resized(view, _target(_size(view), step), step, f"{shown}: {_by(found)} pixels")
        elif isinstance(step, CenterCrop):
            view = _center_crop(to_array(view), step, found, shown)
    return to_array(view)


class ImagePipeline:
    """The image preprocessing that a manifest declares, as a function on raw images."""

    def __init__(self, pre: ImagePre) -> None:
        """Check the order of the steps once.

        Raises:
            UsageError: not decode-image, then resizes and crops, then to-float.
        """
        import numpy as np

        steps = list(pre.steps)
        last = steps.pop() if steps else None
        inner = steps[1:]
        if not isinstance(last, ToFloat) or not steps or not isinstance(steps[0], DecodeImage):
            raise UsageError(f"image steps of {pre.input!r}: expected decode-image first and to-float last")
        if any(isinstance(step, DecodeImage | ToFloat) for step in inner):
            raise UsageError(
                f"image steps of {pre.input!r}: expected only resize, cover and center-crop between first "
                "and last"
            )
        self.input = pre.input
        self._steps = tuple(steps)
        self._scale = np.float32(last.scale)

    def to_uint8(self, raw: Raw) -> "Pixels":
        """Decode, resize and crop one image to uint8 [H, W, C]; see the function of the same name."""
        return to_uint8(raw, self._steps)

    def __call__(self, raws: Sequence[Raw]) -> "NDArray[np.float32]":
        """Turn raw images into one float32 batch [B, C, H, W].

        Raises:
            InputError: an unreadable image, by its place among them.
            UsageError: no image, or images of different sizes after the steps.
        """
        import numpy as np

        if not len(raws):
            raise UsageError("images: got none, expected at least one")
        pixels = [_numbered(raw, self._steps, index) for index, raw in enumerate(raws)]
        height, width, channels = shape = pixels[0].shape
        batch = np.empty((len(pixels), channels, height, width), np.float32)
        for index, image in enumerate(pixels):
            if image.shape != shape:
                raise UsageError(
                    f"images: number 0 has shape {shape} and number {index} {image.shape} [H, W, C], "
                    "expected one shape in a batch; give images of one size or predict them one by one"
                )
            np.multiply(image.transpose(2, 0, 1), self._scale, out=batch[index])
        return batch


def feeds_from(pre: Sequence[Pre], assets: Path) -> "Callable[[Sequence[Any]], dict[str, NDArray[Any]]]":
    """Return the function from raw samples to graph inputs, by name, that a manifest's `pre` list declares.

    Args:
        pre: the manifest's list; a raw sample goes through all of it.
        assets: the folder that files of `pre` (a tokenizer) are relative to; images need none.

    Raises:
        UsageError, IntegrityError: see ImagePipeline and TextPipeline.
    """
    makers = [
        _named(ImagePipeline(each)) if isinstance(each, ImagePre) else TextPipeline(each, assets)
        for each in pre
    ]
    if len(makers) == 1:
        return makers[0]
    return lambda raws: {name: values for make in makers for name, values in make(raws).items()}


def _named(pipeline: ImagePipeline) -> "Callable[[Sequence[Any]], dict[str, NDArray[Any]]]":
    return lambda raws: {pipeline.input: pipeline(raws)}


def _numbered(raw: Raw, steps: Sequence[ImageStep], index: int) -> "Pixels":
    try:
        return to_uint8(raw, steps)
    except UsageError as error:
        raise InputError(index, str(error)) from error


def _size(view: "PILImage | Pixels") -> tuple[int, int]:
    """Height and width."""
    import numpy as np

    if isinstance(view, np.ndarray):
        return view.shape[0], view.shape[1]
    return view.height, view.width


def _target(size: tuple[int, int], step: Resize | Cover) -> tuple[int, int]:
    """Height and width after a step; the side that is not given is rounded down, as torchvision does."""
    height, width = size
    if isinstance(step, Cover):
        if step.height * width >= step.width * height:
            return step.height, step.height * width // height
        return step.width * height // width, step.width
    if step.kind == "exact":
        return step.size, step.size
    if width <= height:
        return int(step.size * height / width), step.size
    return step.size, int(step.size * width / height)


def _resized(
    view: "PILImage | Pixels", target: tuple[int, int], step: Resize | Cover, shown: str
) -> "PILImage | Pixels":
    """Resize to `target` (height, width) with PIL's antialiasing filters; the same size changes nothing."""
    import numpy as np

    if target == _size(view):
        return view
    with needs_extra("image"):
        from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and target[0] * target[1] > limit:
        raise UsageError(
            f"{shown} would become {_by(target)}, expected at most {limit:,} pixels to be safe; cut the "
            "image to usual proportions first"
        )
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    if isinstance(view, np.ndarray):
        view = Image.fromarray(view[:, :, 0] if view.shape[2] == 1 else view)
    return view.resize(target[::-1], filters[step.interpolation])


def _center_crop(pixels: "Pixels", step: CenterCrop, found: tuple[int, int], shown: str) -> "Pixels":
    """Cut the centre; an odd margin is split as torchvision does, by rounding half to even."""
    height, width = size = _size(pixels)
    if height < step.height or width < step.width:
        resized = "" if size == found else f" ({_by(size)} after resizing)"
        way_out = "a larger image" if size == found else "an image of the crop's proportions, or export again"
        raise UsageError(
            f"{shown}: {_by(found)} pixels{resized} found, at least {step.height} x {step.width} expected by "
            f"the crop; give {way_out}"
        )
    top, left = round((height - step.height) / 2), round((width - step.width) / 2)
    return pixels[top : top + step.height, left : left + step.width]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
