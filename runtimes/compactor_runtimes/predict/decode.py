"""Read one raw image to 8 bits a channel, upright: which formats are read, and what is refused.

1. Only the formats of FORMATS are tried: PIL's other readers (PostScript runs a program) never see the bytes.
2. Of an animation or a file of several pages the first image counts.
3. Images are turned upright by their EXIF orientation; transparency is dropped, a palette and CMYK converted.
4. Grey values of more than 8 bits are refused: which of their range is used is not known. Of colours with 16
   bits a channel PIL keeps the upper 8.
"""

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from compactor_runtimes.errors import UsageError, needs_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Pixels: TypeAlias = NDArray[np.uint8]

Mode = Literal["RGB", "L"]

Raw: TypeAlias = "str | Path | bytes | PILImage | NDArray[Any]"
"""A path, the bytes of an image file, a PIL image, or a uint8 array [H, W, C] ([H, W] for mode L)."""

# PIL's name of a format -> suffixes of its files
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
READ = "PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
JPEG = b"\xff\xd8\xff"  # how every such file begins
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap height and width


def decode_image(raw: Raw, mode: Mode) -> "Pixels":
    """Decode one raw image to uint8 [H, W, C], C = 3 for RGB and 1 for L, by rules 1 to 4.

    An array of the right mode is taken as it is, without PIL.

    Raises:
        UsageError: an unreadable, truncated, oversized or 16-bit image (the message names the file), or an
            array of another type or shape.
        MissingDependency: pillow is needed and not installed.
    """
    return to_array(view_of(raw, mode))


def view_of(raw: Raw, mode: Mode) -> "PILImage | Pixels":
    """Read one raw image, to an array only where it is one; see `decode_image`."""
    import numpy as np

    return _checked_array(raw, mode) if isinstance(raw, np.ndarray) else _open_image(raw, mode)


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
    with _opened(raw, _shown(raw)) as image:
        _require_8_bits(image.mode)
        turned = image.getexif().get(ORIENTATION, 1) in TURNED and image.format != "TIFF"
        return (image.width, image.height) if turned else (image.height, image.width)


def count_frames(raw: "str | Path | bytes") -> int:
    """Number of images in a file, of which the first is read (rule 2); a JPEG's thumbnails do not count.

    Raises:
        UsageError: see `decode_image`.
    """
    if isinstance(raw, bytes) and raw.startswith(JPEG):  # most images; to open them once more takes time
        return 1
    with _opened(raw, _shown(raw)) as image:
        return 1 if image.format in ("JPEG", "MPO") else int(getattr(image, "n_frames", 1))


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

    if not isinstance(raw, str | Path | bytes | Image.Image):
        raise UsageError(
            f"image: got {type(raw).__name__}, expected a path, the bytes of an image file, a PIL image "
            "or a uint8 array"
        )
    with _opened(raw, _shown(raw)) as image:
        return _converted(image, mode)


def _shown(raw: "str | Path | bytes | PILImage") -> str:
    if isinstance(raw, str | Path):
        return str(raw)
    return f"the given {'bytes' if isinstance(raw, bytes) else 'PIL image'}"


@contextmanager
def _opened(raw: "str | Path | bytes | PILImage", shown: str) -> "Iterator[PILImage]":
    """Open an image for the block, and turn what PIL's readers raise in it into one sentence."""
    with needs_extra("image"):
        from PIL import Image, UnidentifiedImageError
    try:
        if isinstance(raw, Image.Image):
            yield raw
            return
        if not isinstance(raw, bytes) and not stat.S_ISREG(Path(raw).stat().st_mode):
            raise ValueError("it is no file")
        with Image.open(BytesIO(raw) if isinstance(raw, bytes) else raw, formats=list(FORMATS)) as image:
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            f"{shown}: too large an image to be safe ({error}); make it smaller first"
        ) from error
    except (UsageError, TimeoutError):
        raise
    except UnidentifiedImageError as error:
        size = len(raw) if isinstance(raw, bytes) else Path(shown).stat().st_size
        why = "its content is of no known format, whatever its name says" if size else "it is empty"
        raise UsageError(f"{shown}: cannot be read as an image ({why}); give a whole {READ} file") from error
    except _TooDeep as error:
        raise UsageError(
            f"{shown}: cannot be read as an image ({error}); scale its values to 0..255 and save it with 8 "
            "bits a channel"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:  # what PIL's readers raise
        raise UsageError(
            f"{shown}: cannot be read as an image ({error}); give a whole {READ} file"
        ) from error


class _TooDeep(Exception):
    """More than 8 bits a channel (rule 4)."""


def _require_8_bits(mode: str) -> None:
    if mode in ("I", "F") or mode.startswith("I;"):  # convert() would clip it without a word
        raise _TooDeep(f"mode {mode}, expected 8 bits a channel")


def _converted(image: "PILImage", mode: Mode) -> "PILImage":
    """Apply rules 3 and 4."""
    from PIL import ImageOps

    image.load()
    _require_8_bits(image.mode)
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when it drops a palette's transparency in one go
    return image if image.mode == mode else image.convert(mode)
