"""Write a label store shard by shard: several processes at once, killed at any moment, never half a file.

1. A shard appears by one rename, when all its records are on disk; what has its name is whole.
2. Who makes a shard holds a lock on it (cache/claims.py).
3. `unfinished.json` says from the start what the store will be; another store is never written over it.
   `store.json` takes its place when every shard is there.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from compactor.cache.claims import claimed
from compactor.cache.digest import file_digest
from compactor.data.spec import SplitName
from compactor.label_store.folds import folds_content
from compactor.label_store.header import (
    STORE_FILE,
    UNFINISHED_FILE,
    Header,
    Part,
    Shard,
    read_header,
    record_dtype,
    same_identity,
)
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

SHARD_RECORDS = 8192  # what at most is lost of a killed process's work, or a 512th of a large store
MOST_SHARDS = 512  # each mapped one holds a file open, of which a process may often have 1024


@dataclass(frozen=True)
class Job:
    """One shard to make: its number in the store, its part, and which of the part's rows it holds."""

    number: int
    part: Part
    first: int
    rows: int

    @property
    def file(self) -> str:
        """Name of the shard's file."""
        return f"{self.part.split}-{self.first // self.part.shard_rows:05d}.npy"


def shard_rows_of(rows: int, views: int) -> int:
    """Rows of a shard, so that neither the shards nor what one holds become too many."""
    return max(-(-SHARD_RECORDS // views), -(-rows // MOST_SHARDS), 1)


def ids_file(split: SplitName, ids: NDArray[np.int64]) -> tuple[str, bytes, str]:
    """The file of a part's sample ids: its name, content and hash. The content is the only copy made."""
    head, wanted = io.BytesIO(), np.ascontiguousarray(ids, dtype="<i8")
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(wanted))
    content = b"".join((head.getvalue(), wanted.data))
    return f"{split}-ids.npy", content, hashlib.sha256(content).hexdigest()


class StoreWriter:
    """Make the shards of a store that are not there yet."""

    def __init__(
        self,
        folder: Path,
        header: Header,
        ids: Mapping[SplitName, NDArray[np.int64]],
        *,
        fold_of_row: NDArray[np.int64] | None = None,
    ) -> None:
        """Start the store, or go on with it.

        Args:
            folder: where it lies or will lie.
            header: what it is to hold.
            ids: int64 [rows] ascending, the samples of each part.
            fold_of_row: int64 [rows], the folds of the training samples where labels are cross-fitted.

        Raises:
            UsageError: the folder holds another store.
        """
        self.folder, self.header = (
            folder,
            replace(header, parts=[replace(part, shards=[]) for part in header.parts]),
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.jobs_of_all: list[Job] = []
        for part in header.parts:
            for first in range(0, part.rows, part.shard_rows):
                rows = min(part.shard_rows, part.rows - first)
                self.jobs_of_all.append(Job(len(self.jobs_of_all), part, first, rows))
        for name in (STORE_FILE, UNFINISHED_FILE):
            if (folder / name).is_file() and not same_identity(read_header(folder, name), self.header):
                raise UsageError(
                    f"label store {folder}: holds other labels (another teacher, data set, transform or "
                    "setting); give an empty folder"
                )
        self.hashes: dict[str, str] = {}  # of shards that a finished store lists: only they tell damage
        if (folder / STORE_FILE).is_file():
            listed = [shard for part in read_header(folder).parts for shard in part.shards]
            self.hashes = {one.file: one.sha256 for one in listed if (folder / one.file).is_file()}
        else:
            write_whole(folder / UNFINISHED_FILE, _encoded(self.header))
        for part in header.parts:
            if not (folder / part.ids).is_file():
                write_whole(folder / part.ids, ids_file(part.split, ids[part.split])[1])
        for name in header.folds_file:
            assert fold_of_row is not None
            if not (folder / name).is_file():
                write_whole(folder / name, folds_content(fold_of_row))

    def missing(self, share: tuple[int, int] = (1, 1)) -> list[Job]:
        """Shards that are not there, of the `share[0]`-th of `share[1]` equal shares (counting from 1)."""
        return [job for job in self._of_share(share) if not (self.folder / job.file).is_file()]

    def _of_share(self, share: tuple[int, int]) -> list[Job]:
        return [job for job in self.jobs_of_all if job.number % share[1] == share[0] - 1]

    def claim(self, share: tuple[int, int] = (1, 1)) -> Iterator[Job]:
        """Yield missing shards that nobody else is making, until none is missing.

        Waits for shards that other processes make, and takes over those of a process that died.
        """
        jobs = {job.number: job for job in self._of_share(share)}
        for number in claimed(self.folder, {each: self.folder / job.file for each, job in jobs.items()}):
            for rest in self.folder.glob(f".{jobs[number].file}.*"):
                rest.unlink(missing_ok=True)
            yield jobs[number]

    def empty(self, job: Job) -> NDArray[Any]:
        """Records [rows, views] to fill."""
        return np.zeros((job.rows, job.part.views), dtype=record_dtype(self.header))

    def write(self, job: Job, records: NDArray[Any]) -> None:
        """Put a whole shard in place."""
        content = io.BytesIO()
        np.save(content, records, allow_pickle=False)
        write_whole(self.folder / job.file, content.getvalue())
        self.hashes.pop(job.file, None)

    def finish(self) -> Header | None:
        """Write `store.json` if every shard is there; None if some are still missing.

        Shards that a finished store lists keep the hashes that it lists, so that damage is still found.
        """
        if self.missing():
            return None
        parts = []
        for part in self.header.parts:
            shards = [
                Shard(
                    file=job.file,
                    first=job.first,
                    rows=job.rows,
                    sha256=self.hashes.get(job.file) or file_digest(self.folder / job.file),
                )
                for job in self.jobs_of_all
                if job.part.split == part.split
            ]
            parts.append(replace(part, shards=shards))
        header = replace(self.header, parts=parts)
        write_whole(self.folder / STORE_FILE, _encoded(header))
        (self.folder / UNFINISHED_FILE).unlink(missing_ok=True)
        return header


def forecast_bytes(header: Header) -> int:
    """Size of the finished store, without file headers."""
    size = record_dtype(header).itemsize
    return sum(part.rows * (part.views * size + 8) for part in header.parts)


def _encoded(header: Header) -> bytes:
    return msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n"
