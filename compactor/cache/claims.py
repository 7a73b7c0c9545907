"""Share the making of files among processes that see one folder: who makes one holds its lock meanwhile.

A lock is one byte of the folder's `.lock`, and ends with the process however it ends, so that the files of a
process that died are taken over.
"""

import fcntl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

LOCK_FILE = ".lock"
POLL_S = 0.5


def claimed(folder: Path, files: Mapping[int, Path]) -> Iterator[int]:
    """Yield the numbers of files that are missing and that nobody else is making, until none is missing.

    Waits for those that other processes make. A file must appear whole, by one rename.

    Args:
        folder: where the locks lie.
        files: by their numbers, in the order to make them.
    """
    with (folder / LOCK_FILE).open("a+b") as lock:
        while missing := [number for number, file in files.items() if not file.is_file()]:
            found = False
            for number in missing:
                if _lock(lock, number):
                    try:
                        if not files[number].is_file():
                            found = True
                            yield number
                    finally:
                        fcntl.lockf(lock, fcntl.LOCK_UN, 1, number)
            if not found:
                time.sleep(POLL_S)


def _lock(file: IO[bytes], number: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError:
        return False
    return True
