"""Turn raw samples into the arrays that the graph expects; `decode.py` reads images, `text.py` texts.

Training caches decode through the same `to_uint8`, so a model is served exactly the pixels it was trained on.
"""

from collections.abc import Callable, Sequence
from os import PathLike
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
from compactor_runtimes.predict.limits import OF_DATA, Limits, shown_path
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Pixels: TypeAlias = NDArray[np.uint8]


def to_uint8(raw: Raw, steps: Sequence[ImageStep], limits: Limits = OF_DATA) -> "Pixels":
    """Decode, resize and crop one raw image to uint8 [H, W, C]; a final `ToFloat` is left to the pipeline.

    The cache of training images is filled by this function and serving calls it: both see the same pixels.

    Args:
        raw: the image; see `Raw`.
        steps: `ImagePre.steps`, the first of which decodes.
        limits: what is read at all.

    Raises:
        UsageError: see `decode_image`; or the image is smaller than the crop, or too long and narrow.
    """
    first = steps[0] if steps else None
    if not isinstance(first, DecodeImage):
        raise UsageError(f"image steps: got {first!r} first, expected decode-image; fix the list of steps")
    view = view_of(raw, first.mode, limits)
    found, shown = _size(view), shown_path(raw) if isinstance(raw, str | PathLike) else "image"
    rest = list(steps[1:])
    while rest:
        step = rest.pop(0)
        if isinstance(step, Resize | Cover):
            target = _target(_size(view), step)
            if target[0] * target[1] <= MOST_RESIZED:
                view = _resized(view, target, step)
            elif rest and isinstance(crop := rest[0], CenterCrop):
                rest.pop(0)
                view = _resized(view, target, step, _crop(target, crop, found, shown))
            else:
                raise UsageError(
                    f"{shown}: {_by(found)} pixels would become {_by(target)}, expected at most "
                    f"{MOST_RESIZED:,} pixels to be safe; cut the image to usual proportions first"
                )
        elif isinstance(step, CenterCrop):
            top, left, height, width = _crop(_size(view), step, found, shown)
            view = to_array(view)[top : top + height, left : left + width]
    return to_array(view)


MOST_RESIZED = 1 << 24
"""Pixels that a resize may make; of more, the crop alone is made where one follows."""


class ImagePipeline:
    """The image preprocessing that a manifest declares, as a function on raw images."""

    def __init__(self, pre: ImagePre, limits: Limits = OF_DATA) -> None:
        """Check the order of the steps once; images beyond `limits` are refused.

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
        self._steps, self._limits = tuple(steps), limits
        self._scale = np.float32(last.scale)

    def to_uint8(self, raw: Raw) -> "Pixels":
        """Decode, resize and crop one image to uint8 [H, W, C]; see the function of the same name."""
        return to_uint8(raw, self._steps, self._limits)

    def prepare(self, raws: Sequence[Raw]) -> "list[Pixels]":
        """Decode, resize and crop several images; see `to_uint8`.

        Raises:
            InputError: an unreadable image, by its place among them.
            UsageError: no image.
        """
        if not len(raws):
            raise UsageError("images: got none, expected at least one")
        return [_numbered(raw, self.to_uint8, index) for index, raw in enumerate(raws)]

    def stack(self, pixels: "Sequence[Pixels]") -> "NDArray[np.float32]":
        """Put prepared images into one float32 batch [B, C, H, W].

        Raises:
            UsageError: images of different sizes.
        """
        import numpy as np

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

    def __call__(self, raws: Sequence[Raw]) -> "NDArray[np.float32]":
        """Turn raw images into one float32 batch [B, C, H, W].

        Raises:
            InputError, UsageError: as in `prepare` and `stack`.
        """
        return self.stack(self.prepare(raws))


Read: TypeAlias = Callable[[str], bytes]
"""Gives the content of a file of `assets` by its name there, such as `Bundle.read`."""


def feeds_from(
    pre: Sequence[Pre], assets: Path, limits: Limits = OF_DATA, *, read: Read | None = None
) -> "Callable[[Sequence[Any]], dict[str, NDArray[Any]]]":
    """Return the function from raw samples to graph inputs, by name, that a manifest's `pre` list declares.

    Args:
        pre: the manifest's list; a raw sample goes through all of it.
        assets: the folder that files of `pre` (a tokenizer) are relative to; images need none.
        limits: what is read at all.
        read: what reads these files; None = they are read from the disk as they are.

    Raises:
        UsageError, IntegrityError: see ImagePipeline and TextPipeline.
    """
    makers = [
        _named(ImagePipeline(each, limits))
        if isinstance(each, ImagePre)
        else TextPipeline(each, assets, limits, None if read is None else read(each.tokenizer))
        for each in pre
    ]
    if len(makers) == 1:
        return makers[0]
    return lambda raws: {name: values for make in makers for name, values in make(raws).items()}


def _named(pipeline: ImagePipeline) -> "Callable[[Sequence[Any]], dict[str, NDArray[Any]]]":
    return lambda raws: {pipeline.input: pipeline(raws)}


def _numbered(raw: Raw, read: "Callable[[Raw], Pixels]", index: int) -> "Pixels":
    try:
        return read(raw)
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
    view: "PILImage | Pixels",
    target: tuple[int, int],
    step: Resize | Cover,
    crop: tuple[int, int, int, int] | None = None,
) -> "PILImage | Pixels":
    """Resize to `target` (height, width) with PIL's antialiasing filters; the same size changes nothing.

    Of a `crop` (top, left, height, width of the result) nothing else is made. A number of it may differ by
    one from that of the whole image, because PIL keeps the place in the source in 32 bits.
    """
    import numpy as np

    height, width = size = _size(view)
    if target == size and crop is None:
        return view
    with needs_extra("image"):
        from PIL import Image

    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    if isinstance(view, np.ndarray):
        view = Image.fromarray(view[:, :, 0] if view.shape[2] == 1 else view)
    if crop is None:
        return view.resize(target[::-1], filters[step.interpolation])
    top, left, rows, columns = crop
    down, across = height / target[0], width / target[1]
    box = (left * across, top * down, min((left + columns) * across, width), min((top + rows) * down, height))
    return view.resize((columns, rows), filters[step.interpolation], box)


def _crop(
    size: tuple[int, int], step: CenterCrop, found: tuple[int, int], shown: str
) -> tuple[int, int, int, int]:
    """Where the centre lies; an odd margin is split as torchvision does, by rounding half to even.

    Returns:
        top, left, height and width.
    """
    height, width = size
    if height < step.height or width < step.width:
        resized = "" if size == found else f" ({_by(size)} after resizing)"
        way_out = "a larger image" if size == found else "an image of the crop's proportions, or export again"
        raise UsageError(
            f"{shown}: {_by(found)} pixels{resized} found, at least {step.height} x {step.width} expected by "
            f"the crop; give {way_out}"
        )
    return round((height - step.height) / 2), round((width - step.width) / 2), step.height, step.width


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
