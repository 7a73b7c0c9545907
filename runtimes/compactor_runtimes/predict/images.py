"""Turn raw samples into the arrays that the graph expects; images on numpy and PIL alone, texts in `text.py`.

Training caches decode through the same `to_uint8`, so a model is served exactly the pixels it was trained on.
"""

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from compactor_runtimes.bundle.manifest import (
    CenterCrop,
    DecodeImage,
    ImagePre,
    ImageStep,
    Pre,
    Resize,
    ToFloat,
)
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Pixels: TypeAlias = NDArray[np.uint8]

Mode = Literal["RGB", "L"]

Raw: TypeAlias = "str | Path | bytes | PILImage | NDArray[Any]"
"""A path, the bytes of an image file, a PIL image, or a uint8 array [H, W, C] ([H, W] for mode L)."""


def decode_image(raw: Raw, mode: Mode) -> "Pixels":
    """Decode one raw image to uint8 [H, W, C], C = 3 for RGB and 1 for L.

    An array of the right mode is taken as it is, without PIL. Files are turned upright by their EXIF
    orientation; transparency is dropped.

    Raises:
        UsageError: an unreadable, truncated, oversized or 16-bit image (the message names the file), or an
            array of another type or shape.
        MissingDependency: pillow is needed and not installed.
    """
    import numpy as np

    if isinstance(raw, np.ndarray):
        return _checked_array(raw, mode)
    return _to_array(_open_image(raw, mode))


def to_uint8(raw: Raw, steps: Sequence[ImageStep]) -> "Pixels":
    """Decode, resize and crop one raw image to uint8 [H, W, C]; a final `ToFloat` is left to the pipeline.

    The cache of training images is filled by this function and serving calls it: both see the same pixels.

    Args:
        raw: the image; see `Raw`.
        steps: `ImagePre.steps`, the first of which decodes.

    Raises:
        UsageError: see `decode_image`; or the image is smaller than the crop.
    """
    import numpy as np

    first = steps[0] if steps else None
    if not isinstance(first, DecodeImage):
        raise UsageError(f"image steps: got {first!r} first, expected decode-image; fix the list of steps")
    view = _checked_array(raw, first.mode) if isinstance(raw, np.ndarray) else _open_image(raw, first.mode)
    for step in steps:
        if isinstance(step, Resize):
            view = _resize(view, step)
        elif isinstance(step, CenterCrop):
            view = _center_crop(_to_array(view), step)
    return _to_array(view)


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
                f"image steps of {pre.input!r}: expected only resize and center-crop between first and last"
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
            UsageError: no image, an unreadable one, or images of different sizes after the steps.
        """
        import numpy as np

        if not len(raws):
            raise UsageError("images: got none, expected at least one")
        pixels = [to_uint8(raw, self._steps) for raw in raws]
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


def _checked_array(raw: "NDArray[Any]", mode: Mode) -> "Pixels":
    """Accept uint8 [H, W, C], or [H, W] for mode L."""
    shape, channels = raw.shape, 3 if mode == "RGB" else 1
    if raw.dtype == "uint8" and 0 not in shape:
        if len(shape) == 3 and shape[2] == channels:
            return raw
        if len(shape) == 2 and mode == "L":
            return raw[:, :, None]
    either = " or [H, W]" if mode == "L" else ""
    raise UsageError(
        f"image array: got {raw.dtype} of shape {shape}, expected uint8 [H, W, {channels}]{either} for mode "
        f"{mode}; convert it, or give a batch as [B, H, W, {channels}]"
    )


def _open_image(raw: Any, mode: Mode) -> "PILImage":
    """Read an image file, its bytes or a PIL image into an upright PIL image of `mode`."""
    with needs_extra("image"):
        from PIL import Image

    if isinstance(raw, str | Path):
        shown = str(raw)
    elif isinstance(raw, bytes | Image.Image):
        shown = f"the given {'bytes' if isinstance(raw, bytes) else 'PIL image'}"
    else:
        raise UsageError(
            f"image: got {type(raw).__name__}, expected a path, the bytes of an image file, a PIL image "
            "or a uint8 array"
        )
    try:
        if isinstance(raw, Image.Image):
            return _converted(raw, mode)
        with Image.open(BytesIO(raw) if isinstance(raw, bytes) else raw) as image:
            return _converted(image, mode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            f"{shown}: too large an image to be safe ({error}); make it smaller first"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:  # what PIL's readers raise
        raise UsageError(
            f"{shown}: cannot be read as an image ({error}); give a whole PNG, JPEG or WebP file"
        ) from error


def _converted(image: "PILImage", mode: Mode) -> "PILImage":
    from PIL import ExifTags, ImageOps

    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(
            f"mode {image.mode}, expected 8 bits a channel"
        )  # convert() would clip it without a word
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when it drops a palette's transparency in one go
    return image if image.mode == mode else image.convert(mode)


def _to_array(view: "PILImage | Pixels") -> "Pixels":
    import numpy as np

    if isinstance(view, np.ndarray):
        return view
    pixels: Pixels = np.asarray(view)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _resize(view: "PILImage | Pixels", step: Resize) -> "PILImage | Pixels":
    """Resize with PIL's antialiasing filters; the long side is rounded down, as torchvision does."""
    import numpy as np

    if isinstance(view, np.ndarray):
        height, width = view.shape[:2]
    else:
        width, height = view.size
    if step.kind == "exact":
        target = (step.size, step.size)
    elif width <= height:
        target = (step.size, int(step.size * height / width))
    else:
        target = (int(step.size * width / height), step.size)
    if target == (width, height):
        return view
    with needs_extra("image"):
        from PIL import Image

    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    if isinstance(view, np.ndarray):
        view = Image.fromarray(view[:, :, 0] if view.shape[2] == 1 else view)
    return view.resize(target, filters[step.interpolation])


def _center_crop(pixels: "Pixels", step: CenterCrop) -> "Pixels":
    """Cut the centre; an odd margin is split as torchvision does, by rounding half to even."""
    height, width = pixels.shape[:2]
    if height < step.height or width < step.width:
        raise UsageError(
            f"image: {height} x {width} pixels found, at least {step.height} x {step.width} expected by "
            "the crop; give a larger image"
        )
    top, left = round((height - step.height) / 2), round((width - step.width) / 2)
    return pixels[top : top + step.height, left : left + step.width]
