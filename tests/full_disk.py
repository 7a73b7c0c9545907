"""Disks without room: a limit of a file's size, which works anywhere, and a tiny disk where root mounts."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def no_room(size_bytes: int = 1000) -> Iterator[None]:
    """In the block no file grows beyond `size_bytes`; Python ignores the signal, so a write is an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def tiny_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a disk of `size` at `place`; skip the test where this may not be done."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if done.returncode != 0:
        pytest.skip("no disk may be mounted here; the limit of a file's size is tested everywhere")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
