"""Options of commands that say which inputs a bundle answers."""

import click

FORMATS = click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    help="Read image files of this format too: BMP, GIF, TIFF or PPM. May be given again.",
)
LIMITS = click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="What one input may be: bytes, pixels, side, characters, items, or seconds of a call.",
)
