"""An object store behind an address: read, write and look, tried again where the connection broke."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError, needs_extra, one_line

TRIES = 4
WAIT_S = 0.25  # doubled before each further try
CHUNK_BYTES = 2**20
LASTING = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, CompactorError)

T = TypeVar("T")


class ObjectStore:
    """What lies at one address. Credentials are the library's business: its configuration and environment."""

    def __init__(self, address: str) -> None:
        """Find who serves the address.

        Raises:
            UsageError: it holds credentials, which would go into recipes and logs, or has no known scheme.
            MissingDependency: fsspec, or what serves the scheme, is not installed.
        """
        split = urlsplit(address)
        if "@" in split.netloc:
            raise UsageError(
                f"address {split.scheme}://...@{split.netloc.rpartition('@')[2]}{split.path}: holds "
                "credentials; leave them out and set them where the store's library looks (environment or a "
                "file of its own)"
            )
        with needs_extra("objects"):
            from fsspec.core import url_to_fs
        self.address = address.rstrip("/")
        try:
            # a disk has folders, which are to be made; a store has none
            folders = {"auto_mkdir": True} if split.scheme == "file" else {}
            self.files, self.root = url_to_fs(self.address, **folders)
        except ImportError as error:
            raise UnfitEnvironmentError(f"address {address}: {one_line(error)}") from error
        except ValueError as error:
            raise UsageError(
                f"address {address}: {one_line(error)}; expected e.g. s3://bucket/folder"
            ) from error

    def content(self, path: str, most_bytes: int) -> bytes | None:
        """A small file's bytes; None where there is none.

        Raises:
            UsageError: it is larger than that.
        """
        try:
            size = self._tried(lambda: self.files.info(self._at(path), refresh=True)["size"], path)
        except FileNotFoundError:
            return None
        if size > most_bytes:
            raise UsageError(f"{self.address}/{path}: has {size:,} bytes, at most {most_bytes:,} expected")
        try:
            found: bytes = self._tried(lambda: self.files.cat_file(self._at(path)), path)
        except FileNotFoundError:
            return None
        return found

    def write(self, path: str, content: bytes) -> None:
        """Put a small file there."""
        self._tried(lambda: self.files.pipe_file(self._at(path), content), path)

    def upload(self, local: str, path: str) -> None:
        """Put a local file there."""
        self._tried(lambda: self.files.put_file(local, self._at(path)), path)

    def remove(self, path: str) -> None:
        """Take a file away; nothing happens where there is none."""
        try:
            self._tried(lambda: self.files.rm_file(self._at(path)), path)
        except FileNotFoundError:
            pass

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, piece by piece; the caller tries again from the start where it breaks."""
        with self.files.open(self._at(path), "rb", cache_type="none") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def listed(self) -> dict[str, Any]:
        """Sizes and marks of all files below the address, by relative path; of the file itself by ''."""

        def look() -> dict[str, Any]:
            self.files.invalidate_cache()
            found: dict[str, Any] = self.files.find(self.root, detail=True)
            return found

        start = self.root.strip("/")
        return {
            name.strip("/").removeprefix(start).strip("/"): one for name, one in self._tried(look, "").items()
        }

    def again(self, action: Callable[[], T], path: str) -> T:
        """Do something with a file, as often as its connection may break."""
        return self._tried(action, path)

    def _at(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def _tried(self, action: Callable[[], T], path: str) -> T:
        """Raises what lasts as it is, and a sentence after the last try."""
        for number in range(TRIES):
            try:
                return action()
            except LASTING:
                raise
            except Exception as error:  # each store's library has errors of its own
                if number == TRIES - 1:
                    raise UnfitEnvironmentError(
                        f"{self.address}/{path}: cannot be reached after {TRIES} tries "
                        f"({type(error).__name__}: {one_line(error)}); look at the connection and the "
                        "credentials, then try again"
                    ) from error
                time.sleep(WAIT_S * 2**number)
        raise AssertionError("a try either returns or raises")
