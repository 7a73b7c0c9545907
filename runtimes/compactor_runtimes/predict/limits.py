"""How much one input may be, and how it is read: the same for files, bytes and open files.

1. A file is read only if it is one: a pipe or a device would block for ever.
2. Sizes are known before anything of that size is made: a file's from the system, an image's from its header.
3. Errors that are no word on the input pass through, such as an application's own TimeoutError.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from compactor_runtimes.errors import UsageError, one_line
from compactor_runtimes.predict.image_formats import FORMATS, SERVED
from compactor_runtimes.tables import numbers_from

NUMBERS = ("bytes", "pixels", "side", "characters", "items", "seconds")
_PART = 1 << 20  # bytes that are asked of an open file at once
_SHOWN = 200  # characters of a path in a message


class Limits(Struct, frozen=True, kw_only=True):
    """What one input may ask of the process that answers it; no input within them takes much memory or time.

    Attributes:
        bytes: of a file, or of what is given in its place.
        pixels: height times width of an image, as its header says.
        side: height or width of an image.
        characters: of a text that are looked at; of a longer one the rest is cut, which its answer says.
        items: inputs of one call; a generator has no such limit, for it is answered in parts.
        formats: of image files, by PIL's names; each more is one more reader that sees what others send.
        seconds: time that the graph may take for one batch, where the runtime can be stopped; None = any.
    """

    bytes: int = 64 << 20
    pixels: int = 14_000_000
    side: int = 1 << 16
    characters: int = 1 << 18
    items: int = 100_000
    formats: tuple[str, ...] = SERVED
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Check every number and name once.

        Raises:
            UsageError: a limit that is no whole number from 1, or a format that nothing here reads.
        """
        for name in NUMBERS[:-1]:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"limits.{name}: got {value!r}, expected a whole number, 1 or more")
        seconds = self.seconds
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
            raise UsageError(f"limits.seconds: got {seconds!r}, expected more than 0, or None for no limit")
        unknown = [one for one in self.formats if one not in FORMATS]
        if unknown or not self.formats:
            raise UsageError(
                f"limits.formats: got {unknown or 'none'}, expected some of {', '.join(FORMATS)}"
            )


OF_DATA = Limits(bytes=1 << 40, pixels=178_956_970, side=1 << 31, characters=1 << 40, formats=tuple(FORMATS))
"""What training reads, its user has chosen: all formats, and sizes as far as PIL goes (twice its warning)."""


def with_formats(limits: Limits, formats: Sequence[str]) -> Limits:
    """The same limits with more formats of images, in any case of letters.

    Raises:
        UsageError: one that nothing here reads.
    """
    more = (each.upper() for each in formats)
    return replace(limits, formats=tuple(dict.fromkeys([*limits.formats, *more])))


def limits_from(settings: Sequence[str]) -> Limits:
    """Read limits from `name=number` as a command line gives them; the others are the defaults.

    Raises:
        UsageError: no such limit, or no number.
    """
    given: Any = numbers_from(settings, NUMBERS, "limit")
    return Limits(**given)


def content_of(raw: Any, limit: int, shown: str) -> bytes:
    """Read what is given as a path, as bytes or as an open file.

    Args:
        raw: a path, bytes, bytearray, memoryview, or an object whose `read(size)` gives bytes.
        limit: most bytes.
        shown: how messages name it.

    Raises:
        UsageError: no file, one that cannot be read, more bytes than `limit`, or a file of text.
    """
    if isinstance(raw, bytes | bytearray | memoryview):
        _check_bytes(raw.nbytes if isinstance(raw, memoryview) else len(raw), limit, shown)
        return raw if isinstance(raw, bytes) else bytes(raw)
    if not isinstance(raw, str | os.PathLike):
        return _drained(raw, limit, shown)
    try:
        state = os.stat(raw)
        if not stat.S_ISREG(state.st_mode):
            raise UsageError(f"{shown}: cannot be read (it is no file); give a whole file")
        _check_bytes(state.st_size, limit, shown)
        with Path(raw).open("rb") as file:
            content = file.read(state.st_size + 1)  # a file that grows is found out below
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{shown}: cannot be read ({why}); give a whole file") from error
    _check_bytes(len(content), limit, shown)
    return content


def _drained(file: Any, limit: int, shown: str) -> bytes:
    """Read an open file to its end, or to the limit."""
    held = bytearray()
    while part := _part_of(file, shown):
        if not isinstance(part, bytes):
            raise UsageError(f"{shown}: its read() gives {type(part).__name__}; open it in mode 'rb'")
        held += part
        _check_bytes(len(held), limit, shown)
    return bytes(held)


def _part_of(file: Any, shown: str) -> Any:
    try:
        return file.read(_PART)
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown}: cannot be read ({one_line(error)}); give a whole file") from error


def shown_path(path: object) -> str:
    """A path in a message: on one line, and of a bounded length."""
    text = " ".join(str(path).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _check_bytes(size: int, limit: int, shown: str) -> None:
    if size > limit:
        raise UsageError(
            f"{shown}: {size:,} bytes found, at most {limit:,} expected; make it smaller, or raise "
            "limits.bytes"
        )
