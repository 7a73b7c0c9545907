"""Check every record of a store against what its header says, chunk by chunk; never is a whole store held."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.label_store.box_checks import boxes_in_pixels, may_flip, outside_frame
from compactor.label_store.folds import read_folds
from compactor.label_store.header import STORE_FILE, Head, Header, Part, read_header
from compactor.label_store.quantization import recover
from compactor.label_store.store import Records, read_ids, read_shard
from compactor.label_store.unfinished import require_finished
from compactor.progress import Reporter, SilentReporter
from compactor_runtimes.errors import IntegrityError

CHUNK_VALUES = 1 << 21  # probabilities that are looked at together
SUM_TOLERANCE = 1e-4  # of a whole softmax in float32; recovered labels come closer


@dataclass(frozen=True)
class Verified:
    """What was checked and passed: {check: (count, unit)}."""

    folder: Path
    counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, name: str, count: int, unit: str) -> None:
        """Count what passed."""
        self.counts[name] = (self.counts.get(name, (0, unit))[0] + count, unit)

    def lines(self) -> list[str]:
        """One line a check."""
        width = max(map(len, self.counts))
        return [f"{name:<{width}}  ok  {count:,} {unit}" for name, (count, unit) in self.counts.items()]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        checks = {name: {"count": count, "unit": unit} for name, (count, unit) in self.counts.items()}
        return {"folder": str(self.folder), "checks": checks, "passed": True}


@dataclass(frozen=True)
class Place:
    """Some rows of a shard's file, for messages."""

    path: Path
    first: int

    def require(self, good: NDArray[np.bool_], values: NDArray[Any], what: str, expected: str) -> None:
        """Refuse the first value [rows, views, ...] that is not `good` [rows, views, ...].

        Raises:
            IntegrityError: names file, row, view and value.
        """
        if good.all():
            return
        at = tuple(int(number) for number in np.argwhere(~good)[0])
        deeper = f", place {'.'.join(map(str, at[2:]))}" if len(at) > 2 else ""
        raise IntegrityError(
            f"label store {self.path}: row {self.first + at[0]}, view {at[1]}{deeper}: {what} "
            f"{values[at].tolist()} found, expected {expected}; delete that file and run `compactor label` "
            "again, it makes that one alone"
        )


def verify_store(folder: Path, *, reporter: Reporter | None = None) -> Verified:
    """Check a finished store; the first failure ends it.

    Raises:
        UsageError: the folder holds no store.
        IntegrityError: not finished, or a check failed; names the file and, in it, row and view.
    """
    require_finished(folder)
    header = read_header(folder)
    verified = Verified(folder)
    verified.add("header", 1, f"file ({STORE_FILE}, format {header.format})")
    if (folds := read_folds(folder, header)) is not None:
        verified.add("hashes", 1, "files")
        verified.add("folds of cross-fitted labels", len(folds), "samples")
    with (reporter or SilentReporter()).bar(
        "verify records", sum(part.rows * part.views for part in header.parts)
    ) as bar:
        done = 0
        for part in header.parts:
            ids = read_ids(folder, part)
            verified.add("hashes", 1, "files")
            _check_ids(ids, folder / part.ids)
            verified.add("sample ids ascending, each once", len(ids), "samples")
            for shard in part.shards:
                records = read_shard(folder, header, part, shard)
                verified.add("hashes", 1, "files")
                verified.add("layout of records", records.size, "records")
                for first in range(0, shard.rows, _chunk_rows(header, part)):
                    some = np.asarray(records[first : first + _chunk_rows(header, part)])
                    _check_records(some, header, part, Place(folder / shard.file, first), verified)
                    done += some.size
                    bar.at(done)
    return verified


def _check_ids(ids: NDArray[np.int64], path: Path) -> None:
    good = np.diff(ids, prepend=-1) > 0  # the first one is at least 0
    if good.all():
        return
    row = int(np.argmin(good))
    before = f"{ids[row - 1]} before it" if row else "the first"
    raise IntegrityError(
        f"label store {path}: row {row}: sample id {ids[row]} found ({before}), expected ascending ids from "
        "0 on, each once; label again into an empty folder"
    )


def _chunk_rows(header: Header, part: Part) -> int:
    """Rows whose probabilities fit a chunk."""
    full = header.payload.kind == "full"
    widest = max(
        max(head.positions, 1) * (head.num_classes if full else header.payload.k) for head in header.heads
    )
    return max(CHUNK_VALUES // (widest * part.views), 1)


def _check_records(records: Records, header: Header, part: Part, place: Place, verified: Verified) -> None:
    """Check records [rows, views]."""
    if header.boxes != "none":
        pixels = boxes_in_pixels(records, header)
        good = ~outside_frame(pixels, header, part.split)
        place.require(good, pixels, "box (top, left, height, width)", f"one inside {_frame(header)}")
        verified.add("boxes inside their frame", records.size, "boxes")
        flips = records["flip"]
        if not may_flip(header, part.split):
            place.require(~flips, flips, "flip", "none, as its transform never mirrors")
        verified.add("flips as the transform has them", records.size, "flips")
    for head in header.heads:
        if header.payload.kind != "full":
            _check_classes(records[f"{head.name}.ids"], head, place, verified)
        if header.payload.kind != "hard":
            for name, count, unit in _check_probabilities(records, header, head, place):
                verified.add(name, count, unit)


def _check_classes(ids: NDArray[Any], head: Head, place: Place, verified: Verified) -> None:
    place.require(ids < head.num_classes, ids, f"class id of {head.name}", f"below {head.num_classes}")
    verified.add("class ids below the number of classes", ids.size, "ids")
    if ids.shape[-1] > 1:
        ordered = np.sort(ids, axis=-1)
        each_once = np.asarray((ordered[..., 1:] > ordered[..., :-1]).all(-1))
        place.require(each_once, ids, "class ids", "each class once")
        verified.add("no class twice in a label", ids.size // ids.shape[-1], "labels")


def _check_probabilities(
    records: Records, header: Header, head: Head, place: Place
) -> Iterator[tuple[str, int, str]]:
    payload, kept = header.payload, records[f"{head.name}.p"].astype(np.float32)
    place.require((kept >= 0) & (kept <= 1), kept, f"probability of {head.name}", "one in [0, 1]")
    yield "probabilities within [0, 1]", kept.size, "numbers"
    labels = kept.size // kept.shape[-1]
    if payload.kind == "full":
        total = kept.sum(-1, dtype=np.float64)
    else:
        arrays: dict[str, Tensor] = {
            "ids": torch.from_numpy(records[f"{head.name}.ids"].astype(np.int64)),
            "p": torch.from_numpy(kept),
        }
        soft = recover(arrays, payload, head.num_classes, "marginal-smoothing", payload.k)
        assert soft.p is not None
        assert soft.tail is not None
        largest, tail = soft.p.numpy(), soft.tail.numpy()
        place.require(tail >= 0, tail, f"tail of {head.name}", "at least 0")
        yield "tail at least 0", labels, "labels"
        falls = np.asarray((largest[..., :-1] >= largest[..., 1:]).all(-1))
        place.require(falls, largest, f"head of {head.name}", "descending probabilities")
        yield "head descending", labels, "labels"
        others = payload.k < head.num_classes  # without other classes, nothing can carry a tail
        total = largest.sum(-1, dtype=np.float64) + (tail if others else 0)
    good = np.abs(total - 1) <= SUM_TOLERANCE
    place.require(good, total, f"recovered label of {head.name}: sum", "1")
    yield "recovered labels sum to 1", labels, "labels"


def _frame(header: Header) -> str:
    assert header.transform.image is not None
    height, width, _ = header.transform.image
    augment = header.transform.augment
    padded = augment is not None and augment.crop == "pad"
    reach = f" padded by {augment.padding}" if padded and augment else ""
    return f"{height} x {width}{reach}"
