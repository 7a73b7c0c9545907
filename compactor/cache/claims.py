"""Share the making of files among processes that see one folder: who makes one holds its lock meanwhile.

A lock is one byte of the folder's `.lock`, and ends with the process however it ends, so that the files of a
process that died are taken over. Where the folder has a folder `.work`, each process keeps a journal there,
of what it began and what it finished; `progress_of` reads them all.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from compactor.cache.journal import Journal

LOCK_FILE = ".lock"
JOURNALS = ".work"
POLL_S = 0.5


def claimed(folder: Path, files: Mapping[int, Path]) -> Iterator[int]:
    """Yield the numbers of files that are missing and that nobody else is making, until none is missing.

    Waits for those that other processes make. A file must appear whole, by one rename.

    Args:
        folder: where the locks and the journals lie.
        files: by their numbers, in the order to make them.
    """
    place = folder / JOURNALS
    name = f"{own_name()}-{time.time_ns()}.jsonl"
    journal = Journal(place / name if place.is_dir() else None)
    with (folder / LOCK_FILE).open("a+b") as lock:
        while missing := [number for number, file in files.items() if not file.is_file()]:
            found = False
            for number in missing:
                if _lock(lock, number):
                    try:
                        if not files[number].is_file():
                            found, started_s = True, time.perf_counter()
                            journal.write("begin", file=files[number].name)
                            yield number
                            if files[number].is_file():
                                seconds = round(time.perf_counter() - started_s, 3)
                                journal.write("done", file=files[number].name, seconds=seconds)
                    finally:
                        fcntl.lockf(lock, fcntl.LOCK_UN, 1, number)
            if not found:
                time.sleep(POLL_S)


def own_name() -> str:
    """What this process is called in journals."""
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass
class Progress:
    """How far the files of a folder are, by their numbers.

    `running` are being made now, by whom; `left` were begun by processes that ended before they were done;
    `seconds` each finished one took, and `made_by` whom, where it was made under a journal.
    """

    done: list[int] = field(default_factory=list)
    running: dict[int, str] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    made_by: dict[int, str] = field(default_factory=dict)
    spent_s: float = 0.0


def progress_of(folder: Path, files: Mapping[int, Path]) -> Progress:
    """Read the state of files that processes share, in a process that makes none of them.

    To close a file gives up all locks that a process has on it.
    """
    begun, ended, spent_s = _journals(folder)
    found = Progress(spent_s=spent_s)
    for number, file in files.items():
        if file.is_file():
            found.done.append(number)
            if file.name in ended:
                found.made_by[number], found.seconds[number] = ended[file.name]
        elif file.name in begun:
            (found.running if _is_held(folder, number) else found.left)[number] = begun[file.name]
        else:
            found.waiting.append(number)
    return found


def _is_held(folder: Path, number: int) -> bool:
    """Whether another process has the lock of a file that was begun, so that there are locks."""
    with (folder / LOCK_FILE).open("a+b") as lock:  # whose end gives up what was locked here
        return not _lock(lock, number)


def _journals(folder: Path) -> tuple[dict[str, str], dict[str, tuple[str, float]], float]:
    """Files that were begun, by whom; finished ones, by whom and in how many seconds; seconds in all."""
    begun, ended, spent_s = dict[str, str](), dict[str, tuple[str, float]](), 0.0
    for path in sorted((folder / JOURNALS).glob("*.jsonl")):
        who = path.stem.rpartition("-")[0]
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # the last line of a process that was killed while it wrote
                continue
            if event["event"] == "begin":
                begun[event["file"]] = who
            elif event["event"] == "done":
                ended[event["file"]] = who, event["seconds"]
                spent_s += event["seconds"]
    return begun, ended, spent_s


def _lock(file: IO[bytes], number: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError:
        return False
    return True
