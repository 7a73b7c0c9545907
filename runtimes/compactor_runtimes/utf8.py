"""Reading text as UTF-8, and saying in one sentence what is wrong with other text."""

from pathlib import Path

from compactor_runtimes.errors import UsageError

BOM = b"\xef\xbb\xbf"
UTF_32 = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def decode_utf8(content: bytes, what: str) -> str:
    """Decode text; a byte order mark of UTF-8 at its start is dropped.

    Args:
        content: the bytes.
        what: opens the message: a path, or `standard input`.

    Raises:
        UsageError: it is no UTF-8; the message says the line.
    """
    require_utf8_mark(content[:4], what)
    try:
        return content.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.removeprefix(BOM)[: error.start].count(b"\n") + 1
        found = content.removeprefix(BOM)[error.start]
        raise UsageError(
            f"{what}: is not UTF-8, line {line} holds the byte 0x{found:02X}; save it as UTF-8"
        ) from error


def read_utf8(path: Path) -> str:
    """Read a text file; see `decode_utf8`.

    Raises:
        UsageError: it is no UTF-8.
    """
    return decode_utf8(path.read_bytes(), str(path))


def require_utf8_mark(start: bytes, what: str) -> None:
    """Refuse text whose first bytes say that it is UTF-16 or UTF-32.

    Raises:
        UsageError: they do.
    """
    name = "UTF-32" if start.startswith(UTF_32) else "UTF-16" if start.startswith(UTF_16) else None
    if name is not None:
        raise UsageError(f"{what}: is {name}, as its first bytes say, expected UTF-8; save it as UTF-8")
