"""Hostile inputs, made from a seed: images and texts as files, bytes and objects that no friend sends."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PDF", "EPS")
SQUARE = (3741, 3741)  # as large as the default limits let through
SIZES = (1, 1, 2, 3, 7, 4, 31, 300, 3000, 5000)


def make_input(takes: str, chance: random.Random, folder: Path) -> tuple[str, Any]:
    """One input in words, and itself."""
    folder.mkdir(exist_ok=True)
    table: list[Callable[[random.Random], tuple[str, Any]]] = (
        [_damaged, _damaged, _damaged, _claims, _large, _narrow, _pil, _array, _many_scans]
        if takes == "image"
        else [_text, _text, _long, _bytes, _words]
    )
    what, raw = chance.choice([*table, _thing, lambda chance: _path(chance, folder)])(chance)
    act = chance.random()
    if isinstance(raw, bytes) and act < 0.5:
        if act < 0.15:
            return f"{what}, bytearray", bytearray(raw)
        if act < 0.3:
            return f"{what}, open file", io.BytesIO(raw)
        path = folder / "given"
        path.unlink(missing_ok=True)
        path.write_bytes(raw)
        return f"{what}, file", path
    if act > 0.95:
        return f"{what}, three", [raw, raw, raw]
    return what, raw


def image(chance: random.Random, kind: str) -> bytes:
    """A whole image file."""
    from PIL import Image

    size = chance.choice(SIZES[:8]), chance.choice(SIZES[:8])
    size = (16, 16) if kind == "ICO" else size
    mode = {"JPEG": chance.choice(["RGB", "L", "CMYK"]), "WEBP": chance.choice(["RGB", "RGBA"])}.get(
        kind, chance.choice(["RGB", "L"])
    )
    made = Image.effect_noise(size, 90).convert(mode)
    options: dict[str, Any] = {"exif": _exif(chance)} if kind in ("JPEG", "PNG", "WEBP") else {}
    if kind == "JPEG":
        options["progressive"] = chance.random() < 0.5
    stream = io.BytesIO()
    made.save(stream, kind, **options)
    return stream.getvalue()


def _exif(chance: random.Random) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = chance.choice([1, 3, 6, 8, 0, 9])
    return exif.tobytes()


def _damaged(chance: random.Random) -> tuple[str, Any]:
    kind = chance.choice(FORMATS)
    content = bytearray(image(chance, kind))
    for _ in range(chance.choice([0, 1, 3, 30])):
        at = chance.randrange(len(content))
        act = chance.randrange(4)
        if act == 0:
            content[at] = chance.randrange(256)
        elif act == 1:
            content[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        elif act == 2 and len(content) > 40:
            del content[at:]
            if not content:
                break
        else:
            content[at:at] = chance.randbytes(3)
        if not content:
            content = bytearray(b"\0")
    return f"damaged {kind}", bytes(content)


def _png(width: int, height: int, rows: bytes, colour: int = 2, depth: int = 8, interlaced: int = 0) -> bytes:
    def chunk(name: bytes, held: bytes) -> bytes:
        return struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _claims(chance: random.Random) -> tuple[str, Any]:
    """A small file that says that it is a large image."""
    width, height = (
        chance.choice([0, 1, 4096, 5000, 13_000, 65_535, 2**31 - 1, 2**32 - 1]) for _ in range(2)
    )
    colour, depth = chance.choice([(0, 1), (0, 16), (2, 8), (2, 16), (3, 8), (6, 8), (9, 3)])
    rows = zlib.compress(bytes(chance.choice([0, 100, 10_000_000])))
    return f"PNG of {width} x {height}", _png(width, height, rows, colour, depth, chance.randrange(2))


def _large(chance: random.Random) -> tuple[str, Any]:
    """A whole image, as large as the limits let through; one in thirty, for it takes long."""
    from PIL import Image

    if chance.random() < 0.97:
        return _claims(chance)
    kind, mode = chance.choice([("PNG", "RGBA"), ("JPEG", "CMYK"), ("JPEG", "RGB"), ("WEBP", "RGBA")])
    stream = io.BytesIO()
    options: dict[str, Any] = {"JPEG": {"progressive": True}, "PNG": {"compress_level": 1}}.get(
        kind, {"method": 0}
    )
    Image.new(mode, SQUARE).save(stream, kind, exif=_exif(chance), **options)
    return f"{kind} {mode} of 3741 x 3741", stream.getvalue()


def _narrow(chance: random.Random) -> tuple[str, Any]:
    """A whole image of one pixel's height or width."""
    long = chance.choice([3000, 60_000, 100_000, 1_000_000])
    width, height = (long, 1) if chance.random() < 0.5 else (1, long)
    rows = (b"\0" + b"\x64" * 3 * width) * height
    return f"PNG of {width} x {height}", _png(width, height, zlib.compress(rows, 1))


def _many_scans(chance: random.Random) -> tuple[str, Any]:
    """A progressive JPEG whose last scan comes again and again."""
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    return "JPEG of many scans", content[:last] + content[last:-2] * chance.choice(
        [5, 500, 5000]
    ) + b"\xff\xd9"


def _pil(chance: random.Random) -> tuple[str, Any]:
    from PIL import Image

    mode = chance.choice(
        ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "I;16"]
    )
    size = chance.choice([(0, 5), (5, 0), (1, 1), (4, 4), (300, 2), (9000, 9000), (70_000, 1)])
    if size == (9000, 9000) and mode in ("I", "F"):
        size = (4, 4)
    return f"PIL {mode} of {size}", Image.new(mode, size)


def _array(chance: random.Random) -> tuple[str, Any]:
    import numpy as np

    shape = chance.choice(
        [
            (),
            (0,),
            (4, 4),
            (4, 4, 3),
            (3, 4, 4),
            (4, 4, 4),
            (0, 4, 3),
            (2, 4, 4, 3),
            (1, 1, 1, 1, 1),
            (70_000, 2, 3),
        ]
    )
    kind = chance.choice(
        ["uint8", "int8", "float32", "float64", "bool", "complex64", "U3", "object", "int64"]
    )
    return f"array {kind} {shape}", np.zeros(shape, kind)


def _text(chance: random.Random) -> tuple[str, Any]:
    alphabet = chance.choice(
        [
            "ab \n",
            "\u0301\u0300e",
            "🤖👩‍👩‍👧",
            "\0\x01\x7f",
            "ﷺ",
            "\ud800\udfff",
            "漢字かな",
            "\u202e\u200b\ufeff",
            " \t\r\n",
        ]
    )
    return f"text of {alphabet[:3]!r}", "".join(
        chance.choice(alphabet) for _ in range(chance.choice([0, 1, 5, 300, 5000]))
    )


def _words(chance: random.Random) -> tuple[str, Any]:
    words = ["turn", "on", "off", "the", "light", "music", "unknown", "ON", "Light!"]
    return "words", " ".join(chance.choice(words) for _ in range(chance.choice([1, 5, 100, 10_000])))


def _long(chance: random.Random) -> tuple[str, Any]:
    part = chance.choice(["a", "turn on ", " ", "é", "漢", "a\u0301", "ﷺ", "\n", "aaaaaaaa "])
    return f"10 MB of {part!r}", part * (chance.choice([1_000_000, 10_000_000]) // len(part))


def _bytes(chance: random.Random) -> tuple[str, Any]:
    return "bytes", chance.choice(
        [b"", b"\xff", b"\xef\xbb\xbfon", b"on\n", b"\xc3", b"turn\0on", chance.randbytes(50)]
    )


def _thing(chance: random.Random) -> tuple[str, Any]:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "no such luck")

    things = [
        None,
        7,
        1.5,
        True,
        object(),
        {"a": 1},
        {1},
        "",
        " ",
        (),
        [],
        range(3),
        int,
        Broken(),
        io.StringIO("on"),
        memoryview(b"on"),
        len,
        "x" * 5000,
        [[]],
        [None, None],
        ("on", None),
    ]
    raw = chance.choice(things)
    return f"a {type(raw).__name__}", raw


def _path(chance: random.Random, folder: Path) -> tuple[str, Any]:
    act = chance.choice(["pipe", "folder", "none", "device", "long", "lines", "zero", "loop", "text file"])
    path = folder / act
    if act == "pipe":
        path.exists() or os.mkfifo(path)
    elif act == "loop":
        path.is_symlink() or path.symlink_to(path.name)
    elif act == "text file":
        path.write_text("turn on the light\n")
    paths = {
        "folder": folder,
        "device": Path("/dev/zero"),
        "long": Path("x" * 6000),
        "lines": Path("a\r\nb\n" * 50),
        "zero": Path("a\0b"),
    }
    return f"path: {act}", paths.get(act, path)
