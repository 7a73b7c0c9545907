"""What a process takes of the machine: memory of one step kept for the next, and threads."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# numbers of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 2**31 - 1
LARGEST_BLOCK_BYTES = 32 * 2**20  # glibc accepts no larger threshold


def keep_freed_memory() -> None:
    """Ask glibc not to give freed activations back to the kernel after every step.

    Otherwise each step faults its activations in again, page by page. It lasts for the process; where there
    is no glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)


@contextmanager
def threads_of_torch(count: int | None) -> Iterator[None]:
    """Let torch take that many threads in the block; None: as many as it took before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
