"""Which formats of image files can be read at all, and what their files are called.

No other reader of PIL's ever sees a file: one of them (PostScript) runs a program on it.
"""

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
# PIL's name of a format -> how its files begin; of those that a bundle does not read by itself
SIGNS = {
    "BMP": (b"BM",),
    "GIF": (b"GIF8",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PPM": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
}
SERVED = ("PNG", "JPEG", "WEBP")
"""What a bundle reads unless more is named: each more is one more reader that sees what others send."""

_WRITTEN = {"WEBP": "WebP"}


def in_words(formats: "tuple[str, ...] | dict[str, tuple[str, ...]]") -> str:
    """Formats in a sentence: `PNG, JPEG or WebP`."""
    names = [_WRITTEN.get(name, name) for name in formats]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


READ = in_words(FORMATS)
