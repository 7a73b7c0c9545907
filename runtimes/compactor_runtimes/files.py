"""How a file reaches the disk: whole or not at all, with the permissions that the umask gives.

`tempfile` and the writer of safetensors make what only its owner may read, whatever the umask says.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write to or to replace; it takes its place at the end of the block.

    It has reached the disk before the one rename, and its permissions are those of a new file under the
    umask. After an error it is gone, and what stood at `path` is as it was.

    Args:
        path: the file; its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield partial
        with partial.open("rb") as file:
            os.fchmod(file.fileno(), mode & 0o777)
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Let `path` hold `content`, or what it held before."""
    with written_whole(path) as partial:
        partial.write_bytes(content)


def new_folder(parent: Path, prefix: str) -> Path:
    """Make a folder of a name that nobody has in `parent` (made if need be), to be filled and renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{prefix}{secrets.token_hex(4)}.partial"
    folder.mkdir()
    return folder
