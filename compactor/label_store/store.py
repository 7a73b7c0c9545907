"""Open a finished label store and read records by sample id; every hash is checked on opening."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.cache.digest import file_digest
from compactor.data.augment import boxes_from_pixels
from compactor.data.spec import Quantization, SplitName
from compactor.label_store.folds import read_folds
from compactor.label_store.header import STORE_FILE, Header, Part, Shard, read_header, record_dtype
from compactor.label_store.quantization import recover
from compactor.progress import Reporter, SilentReporter
from compactor.records import Crops, Soft
from compactor_runtimes.errors import IntegrityError, UsageError

Records = NDArray[Any]  # structured, see record_dtype


@dataclass(frozen=True)
class StorePart:
    """The records of one split, memory-mapped: `ids` int64 [N] ascending, each with `views` records."""

    header: Header
    part: Part
    ids: NDArray[np.int64]
    shards: list[Records] = field(repr=False)

    @property
    def views(self) -> int:
        """Recorded views of a sample."""
        return self.part.views

    def positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of some sample ids.

        Raises:
            UsageError: the store does not hold one of them.
        """
        found = np.searchsorted(self.ids, ids)
        known = np.take(self.ids, found, mode="clip") == ids
        if not known.all():
            raise UsageError(
                f"label store: {int((~known).sum())} of {len(ids)} samples of {self.part.split} are missing, "
                f"such as number {int(ids[~known][0])}; label again with the data that you train on"
            )
        return found.astype(np.int64)

    def records(self, ids: NDArray[np.int64], view: NDArray[np.int64]) -> Records:
        """Records [B] of the given views of samples [B], copied out of the shards."""
        rows = self.positions(ids)
        shard, row = np.divmod(rows, self.part.shard_rows)
        out = np.empty(len(ids), dtype=record_dtype(self.header))
        for number in np.unique(shard):
            here = shard == number
            out[here] = self.shards[number][row[here], view[here]]
        return out

    def column(self, name: str) -> NDArray[Any]:
        """One field of all records [N, views, ...]."""
        return np.concatenate([shard[name] for shard in self.shards])

    def crops(self, records: Records, view: NDArray[np.int64]) -> Crops:
        """The views that records describe.

        Raises:
            UsageError: the store holds no views.
        """
        if self.header.boxes == "none":
            raise UsageError("label store: it holds whole samples, no views to replay")
        box = records["box"]
        if self.header.boxes == "pixels":
            assert self.header.transform.image is not None
            height, width, _ = self.header.transform.image
            boxes = boxes_from_pixels(box.astype(np.int64), height, width)
        else:
            boxes = torch.from_numpy(np.ascontiguousarray(box))
        return Crops(boxes, torch.from_numpy(np.ascontiguousarray(records["flip"])), torch.from_numpy(view))

    def soft(self, records: Records, head: str, quantization: Quantization, k: int) -> Soft:
        """The soft labels of records [B], read as `quantization`."""
        arrays = {
            name: _tensor(records[f"{head}.{name}"])
            for name in ("ids", "p")
            if f"{head}.{name}" in (records.dtype.names or ())
        }
        return recover(arrays, self.header.payload, self.num_classes(head), quantization, k)

    def num_classes(self, head: str) -> int:
        """Classes of a head."""
        return next(one.num_classes for one in self.header.heads if one.name == head)


@dataclass(frozen=True)
class LabelStore:
    """A finished store: its header and its parts by split.

    `fold_of_row` int64 [N] says which teacher labelled which training sample, where one did alone.
    """

    folder: Path
    header: Header
    parts: dict[SplitName, StorePart]
    fold_of_row: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def train(self) -> StorePart:
        """The part that is trained from."""
        return self.parts["train"]

    @property
    def records(self) -> int:
        """Number of records, over all parts."""
        return sum(part.rows * part.views for part in self.header.parts)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all files that the header names, and of the header itself."""
        names = [STORE_FILE, *self.header.folds_file]
        for part in self.header.parts:
            names += [part.ids, *(shard.file for shard in part.shards)]
        return sum((self.folder / name).stat().st_size for name in names)


def open_store(folder: Path, *, reporter: Reporter | None = None) -> LabelStore:
    """Open a store; the shards are memory-mapped.

    Raises:
        IntegrityError: not finished, damaged, or of another format; says which file.
    """
    header = read_header(folder)
    parts: dict[SplitName, StorePart] = {}
    total = sum(len(part.shards) + 1 for part in header.parts)
    with (reporter or SilentReporter()).bar("check label store", total) as bar:
        done = 0
        for part in header.parts:
            ids = read_ids(folder, part)
            shards = []
            for shard in part.shards:
                shards.append(read_shard(folder, header, part, shard))
                done += 1
                bar.at(done)
            parts[part.split] = StorePart(header, part, ids, shards)
    return LabelStore(folder, header, parts, read_folds(folder, header))


def read_ids(folder: Path, part: Part) -> NDArray[np.int64]:
    """Sample ids of a part.

    Raises:
        IntegrityError: damaged.
    """
    ids = _load(folder, part.ids, part.ids_sha256)
    if ids.shape != (part.rows,) or ids.dtype != np.int64:
        raise IntegrityError(f"label store {folder / part.ids}: holds other numbers than its header says")
    return ids


def read_shard(folder: Path, header: Header, part: Part, shard: Shard) -> Records:
    """Records [rows, views] of a shard, memory-mapped.

    Raises:
        IntegrityError: damaged, or not what the header says.
    """
    records = _load(folder, shard.file, shard.sha256)
    if records.dtype != record_dtype(header) or records.shape != (shard.rows, part.views):
        raise IntegrityError(
            f"label store {folder / shard.file}: holds records of another layout than its header says; "
            "label again"
        )
    return records


def _load(folder: Path, name: str, sha256: str) -> NDArray[Any]:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"label store {folder}: file {name} lies outside the store; do not use it")
    if not path.is_file():
        raise IntegrityError(
            f"label store {folder}: {name} is missing; run `compactor label` again, it makes what is missing"
        )
    found = file_digest(path)
    if found != sha256:
        raise IntegrityError(
            f"label store {path}: is damaged (sha256 {found[:12]} found, {sha256[:12]} expected); delete it "
            "and run `compactor label` again, it makes that one alone"
        )
    try:  # refuses pickles and archives
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"label store {path}: holds no array ({error}); label again") from error


def _tensor(values: NDArray[Any]) -> Tensor:
    """A field as float32 or int64."""
    kind = np.float32 if values.dtype.kind == "f" else np.int64
    return torch.from_numpy(values.astype(kind))
