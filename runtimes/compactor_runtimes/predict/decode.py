"""Read one raw image to 8 bits a channel, upright: which formats are read, and what is refused.

1. Only the formats that the limits name are tried, and sizes beyond them are refused by the header alone.
2. Of an animation or a file of several pages the first image counts.
3. Images are turned upright by their EXIF orientation; transparency is dropped, a palette and CMYK converted.
4. Grey values of more than 8 bits are refused: which of their range is used is not known. Of colours with 16
   bits a channel PIL keeps the upper 8.
5. A JPEG of very many scans is refused: a few bytes of each make the reader go over the whole image.
"""

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from compactor_runtimes.errors import UsageError, needs_extra, one_line
from compactor_runtimes.predict.image_formats import SIGNS, in_words
from compactor_runtimes.predict.limits import OF_DATA, Limits, content_of, shown_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Pixels: TypeAlias = NDArray[np.uint8]

Mode = Literal["RGB", "L"]

Raw: TypeAlias = "str | Path | bytes | PILImage | NDArray[Any]"
"""A path, the bytes of an image file, a PIL image, or a uint8 array [H, W, C] ([H, W] for mode L)."""

JPEG = b"\xff\xd8\xff"  # how every such file begins
SCAN, MOST_SCANS = b"\xff\xda", 100  # where a scan of a JPEG begins, and how many a progressive one may have
READERS_RAISE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap height and width
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def decode_image(raw: Raw, mode: Mode, limits: Limits = OF_DATA) -> "Pixels":
    """Decode one raw image to uint8 [H, W, C], C = 3 for RGB and 1 for L, by rules 1 to 5.

    An array of the right mode is taken as it is, without PIL.

    Raises:
        UsageError: an unreadable, truncated, oversized or 16-bit image (the message names the file), or an
            array of another type or shape.
        MissingDependency: pillow is needed and not installed.
    """
    return to_array(view_of(raw, mode, limits))


def view_of(raw: Raw, mode: Mode, limits: Limits = OF_DATA) -> "PILImage | Pixels":
    """Read one raw image, to an array only where it is one; see `decode_image`."""
    import numpy as np

    return (
        _checked_array(raw, mode, limits) if isinstance(raw, np.ndarray) else _open_image(raw, mode, limits)
    )


def to_array(view: "PILImage | Pixels") -> "Pixels":
    """Return uint8 [H, W, C]."""
    import numpy as np

    if isinstance(view, np.ndarray):
        return view
    pixels: Pixels = np.asarray(view)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def upright_size(raw: "str | Path | bytes") -> tuple[int, int]:
    """Height and width of an image file as `decode_image` would give them, from its header alone.

    Raises:
        UsageError: see `decode_image`.
    """
    with _opened(raw, _shown(raw), OF_DATA) as image:
        _require_8_bits(image.mode)
        turned = image.getexif().get(ORIENTATION, 1) in TURNED and image.format != "TIFF"
        return (image.width, image.height) if turned else (image.height, image.width)


def format_of(raw: "str | Path | bytes") -> str:
    """PIL's name of an image file's format, from its header alone.

    Raises:
        UsageError: see `decode_image`.
    """
    with _opened(raw, _shown(raw), OF_DATA) as image:
        return "JPEG" if image.format == "MPO" else str(image.format)


def count_frames(raw: "str | Path | bytes") -> int:
    """Number of images in a file, of which the first is read (rule 2); a JPEG's thumbnails do not count.

    Raises:
        UsageError: see `decode_image`.
    """
    if isinstance(raw, bytes) and raw.startswith(JPEG):  # most images; to open them once more takes time
        return 1
    with _opened(raw, _shown(raw), OF_DATA) as image:
        return 1 if image.format in ("JPEG", "MPO") else int(getattr(image, "n_frames", 1))


def _checked_array(raw: "NDArray[Any]", mode: Mode, limits: Limits) -> "Pixels":
    """Accept uint8 [H, W, C], or [H, W] for mode L."""
    shape, channels = raw.shape, 3 if mode == "RGB" else 1
    either = " or [H, W]" if mode == "L" else ""
    flat = len(shape) == 2 and mode == "L"
    if raw.dtype != "uint8" or 0 in shape or not (flat or (len(shape) == 3 and shape[2] == channels)):
        raise UsageError(
            f"image array: got {raw.dtype} of shape {shape}, expected uint8 [H, W, {channels}]{either} for "
            f"mode {mode}; convert it, or give a batch as [B, H, W, {channels}]"
        )
    _check_size(shape[1], shape[0], "image array", limits)
    return raw[:, :, None] if flat else raw


def _open_image(raw: Any, mode: Mode, limits: Limits) -> "PILImage":
    """Read an image file, its bytes or a PIL image into an upright PIL image of `mode`."""
    with needs_extra("image"):
        from PIL import Image

    given = isinstance(raw, Image.Image)
    if not (
        given or hasattr(raw, "read") or isinstance(raw, str | PathLike | bytes | bytearray | memoryview)
    ):
        raise UsageError(
            f"image: got {type(raw).__name__}, expected a path, the bytes of an image file, an open file, "
            "a PIL image or a uint8 array"
        )
    shown = _shown(raw)
    if not given:
        raw = content_of(raw, limits.bytes, shown)
        if raw.count(SCAN) > MOST_SCANS and raw.startswith(JPEG):
            raise UsageError(
                f"{shown}: a JPEG of {raw.count(SCAN):,} scans, at most {MOST_SCANS} expected, for each "
                "takes the time of an image; save it again"
            )
    with _opened(raw, shown, limits) as image:
        return _converted(image, mode)


def _shown(raw: Any) -> str:
    if isinstance(raw, str | PathLike):
        return shown_path(raw)
    if isinstance(raw, bytes | bytearray | memoryview):
        return "the given bytes"
    return "the given open file" if hasattr(raw, "read") else "the given PIL image"


@contextmanager
def _opened(raw: "str | Path | bytes | PILImage", shown: str, limits: Limits) -> "Iterator[PILImage]":
    """Open an image for the block, and turn what PIL's readers raise in it into one sentence."""
    with needs_extra("image"):
        from PIL import Image, UnidentifiedImageError
    formats = in_words(limits.formats)
    try:
        if isinstance(raw, Image.Image):
            _check_size(*raw.size, shown, limits)
            yield raw
            return
        if not isinstance(raw, bytes) and not stat.S_ISREG(Path(raw).stat().st_mode):
            raise ValueError("it is no file")
        stream = BytesIO(raw) if isinstance(raw, bytes) else raw
        with Image.open(stream, formats=list(limits.formats)) as image:
            _check_size(*image.size, shown, limits)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            f"{shown}: too large an image to be safe ({error}); make it smaller first"
        ) from error
    except (UsageError, TimeoutError):
        raise
    except UnidentifiedImageError as error:
        content = raw if isinstance(raw, bytes) else content_of(raw, limits.bytes, shown)
        why = _unknown(content, limits)
        raise UsageError(
            f"{shown}: cannot be read as an image ({why}); give a whole {formats} file"
        ) from error
    except _TooDeep as error:
        raise UsageError(
            f"{shown}: cannot be read as an image ({error}); scale its values to 0..255 and save it with 8 "
            "bits a channel"
        ) from error
    except READERS_RAISE as error:
        raise UsageError(
            f"{shown}: cannot be read as an image ({one_line(error)}); give a whole {formats} file"
        ) from error


def _unknown(content: bytes, limits: Limits) -> str:
    """Why no reader takes it: a known format that the limits do not name is named."""
    if not content:
        return "it is empty"
    begins = content[:4]
    for kind, signs in SIGNS.items():
        if kind not in limits.formats and begins.startswith(signs):
            asked = f"formats={[kind]}, --format {kind}"
            return f"it is {in_words((kind,))}, which is read where it is asked for: {asked}"
    return "its content is of no known format, whatever its name says"


def _check_size(width: int, height: int, shown: str, limits: Limits) -> None:
    """Rule 1, from what a header says."""
    if not width or not height:
        raise UsageError(f"{shown}: {height} x {width} pixels found, at least one expected; give an image")
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise UsageError(
            f"{shown}: too large an image to be safe: {height:,} x {width:,} pixels found, at most "
            f"{limits.pixels:,} expected and {limits.side:,} a side; make it smaller first"
        )


class _TooDeep(Exception):
    """More than 8 bits a channel (rule 4)."""


def _require_8_bits(mode: str) -> None:
    if mode in ("I", "F") or mode.startswith("I;"):  # convert() would clip it without a word
        raise _TooDeep(f"mode {mode}, expected 8 bits a channel")


def _converted(image: "PILImage", mode: Mode) -> "PILImage":
    """Apply rules 3 and 4."""
    from PIL import Image

    image.load()
    _require_8_bits(image.mode)
    turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    if turn is not None:  # PIL's own function writes the EXIF data anew, and fails where they are odd
        image = image.transpose(Image.Transpose[turn])
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when it drops a palette's transparency in one go
    return image if image.mode == mode else image.convert(mode)
