"""Permissions of files and folders under a umask, as tests ask for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXPECTED = {0o022: ({0o644}, {0o755}), 0o077: ({0o600}, {0o700})}
"""umask -> modes of new files and of new folders: 666 and 777 without the bits that it holds, by hand."""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Work under another umask."""
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def modes(folder: Path) -> tuple[set[int], set[int]]:
    """The modes of all files in `folder`, and of it and its folders."""
    paths = [folder, *folder.rglob("*")]
    files = {path.stat().st_mode & 0o777 for path in paths if path.is_file()}
    return files, {path.stat().st_mode & 0o777 for path in paths if path.is_dir()}
