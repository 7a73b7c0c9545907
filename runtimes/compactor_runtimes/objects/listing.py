"""`published.json`: what a published folder consists of, and what may be in it."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from compactor_runtimes.errors import IntegrityError

LISTING = "published.json"  # written last
BEGUN = "publishing.json"  # there from the start of a publishing to its end
FORMAT = 1
MOST_FILES = 1_000_000
MOST_BYTES = 512 * 2**20  # of a listing


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a published folder, by its relative path."""

    path: str
    bytes: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Listing(Struct, frozen=True, forbid_unknown_fields=True):
    """All files, in the order of their paths."""

    files: Annotated[list[Listed], Meta(max_length=MOST_FILES)]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """SHA-256 of what is published, whenever and by whom."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def encoded(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def listing_of(folder: Path) -> Listing:
    """List a local folder; hidden files (locks, journals) are not published."""
    files = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(Listed("/".join(parts), path.stat().st_size, digest))
    return Listing(files)


def read_listing(content: bytes, address: str) -> Listing:
    """Read a listing that comes from outside.

    Raises:
        IntegrityError: it is none, of another format, or names a path that leaves its folder.
    """
    try:
        found = msgspec.json.decode(content, type=Listing)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise IntegrityError(
            f"{address}/{LISTING}: is damaged ({error}); publish the folder again"
        ) from error
    if found.format != FORMAT:
        raise IntegrityError(
            f"{address}/{LISTING}: format {found.format} found, expected {FORMAT}; publish it again"
        )
    for one in found.files:
        path = PurePosixPath(one.path)
        plain = path.as_posix() == one.path and not any(part.startswith(".") for part in path.parts)
        if path.is_absolute() or not path.parts or not plain or "\\" in one.path or "\0" in one.path:
            raise IntegrityError(
                f"{address}/{LISTING}: path {one.path!r} leaves the folder or is hidden; do not use it"
            )
    if len({one.path for one in found.files}) != len(found.files):
        raise IntegrityError(f"{address}/{LISTING}: names a file twice; publish the folder again")
    return found
