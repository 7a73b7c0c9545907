"""Bring the shares that several machines made together into one store.

1. All sources describe the same store, or nothing is copied.
2. A shard is copied whole: it appears by one rename after it has reached the disk.
3. A shard that is there already is compared, never replaced; so a merge can be stopped and run again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compactor.label_store.folds import read_folds
from compactor.label_store.header import (
    STORE_FILE,
    UNFINISHED_FILE,
    Header,
    read_header,
    record_dtype,
    same_identity,
)
from compactor.label_store.store import Records, read_ids, read_shard
from compactor.label_store.unfinished import header_file, jobs_of, name_shards, shares_of
from compactor.label_store.write import Job, StoreWriter
from compactor.progress import Reporter, SilentReporter
from compactor_runtimes.errors import IntegrityError, UsageError


@dataclass(frozen=True)
class Merged:
    """What a merge did: shards copied and shards that were there already, and those still missing of all."""

    folder: Path
    records: int
    shards: int
    copied: int
    missing: list[Job]

    @property
    def is_whole(self) -> bool:
        """Whether the store is finished."""
        return not self.missing

    def text(self) -> str:
        """One sentence for the terminal."""
        done = f"store: {self.folder} ({self.copied:,} shards copied"
        if self.is_whole:
            return f"{done}; finished, {self.shards:,} shards, {self.records:,} records)"
        shares = shares_of(self.missing, self.shards)
        how = (
            f"; compactor label RECIPE --share {' and '.join(shares)} makes them" if shares else ""
        ) + "; then merge that folder too"
        return (
            f"{done}; {len(self.missing):,} of {self.shards:,} are still missing: "
            f"{name_shards(self.missing)}){how}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "folder": str(self.folder),
            "records": self.records,
            "shards": self.shards,
            "copied": self.copied,
            "whole": self.is_whole,
            "missing": [job.file for job in self.missing],
            "missing_shares": shares_of(self.missing, self.shards),
        }


def merge_stores(target: Path, sources: list[Path], *, reporter: Reporter | None = None) -> Merged:
    """Copy what the sources have and finish the store if nothing is missing.

    Args:
        target: a new folder, or one that an earlier merge or `compactor label` began.
        sources: folders of finished stores or of shares.
        reporter: where progress goes.

    Raises:
        UsageError: a source that holds another store, is none, or is the target itself.
        IntegrityError: a damaged shard, or two different contents of one.
    """
    headers = {source: _header(source) for source in _without_target(sources, target)}
    first, header = sources[0], _without_shards(headers[sources[0]])
    begun = {target: _header(target)} if _holds_store(target) else {}
    for source, other in (headers | begun).items():
        if not same_identity(header, other):
            raise UsageError(
                f"label store {source}: holds another store than {first} ({difference(header, other)}); "
                "merge shares of one recipe that were made with the same versions"
            )
    ids = {part.split: read_ids(first, part) for part in header.parts}
    writer = StoreWriter(target, header, ids, fold_of_row=read_folds(first, header))
    jobs = jobs_of(header)
    found = [
        (source, job)
        for source, its in headers.items()
        for job in jobs
        if _is_finished(its) or (source / job.file).is_file()  # a finished one must have all it lists
    ]
    copied = 0
    with (reporter or SilentReporter()).bar("merge shards", len(found)) as bar:
        for done, (source, job) in enumerate(found):
            records = _shard(source, headers[source], job)
            if (target / job.file).is_file():
                _require_same(_shard(target, header, job), records, target / job.file, source)
            else:
                writer.write(job, records)
                copied += 1
            bar.at(done + 1)
    writer.finish()
    count = sum(part.rows * part.views for part in header.parts)
    return Merged(target, count, len(jobs), copied, writer.missing())


def difference(a: Header, b: Header) -> str:
    """Name the first field in which two headers describe different stores, with both values.

    Raises:
        ValueError: they describe the same one.
    """
    left, right = (msgspec.to_builtins(_without_shards(header)) for header in (a, b))
    for name in left:
        if left[name] != right[name]:
            return _named(name, left[name], right[name])
    raise ValueError("difference: got two headers of one store, expected different ones")


def _is_finished(header: Header) -> bool:
    return any(part.shards for part in header.parts)


def _without_shards(header: Header) -> Header:
    parts = [msgspec.structs.replace(part, shards=[]) for part in header.parts]
    return msgspec.structs.replace(header, parts=parts)


def _named(path: str, a: Any, b: Any) -> str:
    """Follow mappings and lists of one length down to what differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if a.get(key) != b.get(key):
                return _named(f"{path}.{key}", a.get(key), b.get(key))
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        number = next(number for number, (one, other) in enumerate(zip(a, b, strict=True)) if one != other)
        return _named(f"{path}.{number}", a[number], b[number])
    return f"{path}: {_short(b)} found, {_short(a)} expected"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _header(folder: Path) -> Header:
    return read_header(folder, header_file(folder))


def _holds_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (STORE_FILE, UNFINISHED_FILE))


def _without_target(sources: list[Path], target: Path) -> list[Path]:
    for source in sources:
        if source.resolve() == target.resolve():
            raise UsageError(
                f"merge: {source} is both target and source; leave it out of the sources, what it holds stays"
            )
    return sources


def _shard(source: Path, header: Header, job: Job) -> Records:
    """A source's shard, memory-mapped; hashes are known of a finished source only."""
    part = next(part for part in header.parts if part.split == job.part.split)
    if _is_finished(header):
        return read_shard(source, header, part, part.shards[job.first // part.shard_rows])
    path = source / job.file
    try:
        records: Records = np.lib.format.open_memmap(path, mode="r")  # refuses pickles and archives
    except (ValueError, EOFError) as error:
        raise IntegrityError(
            f"label store {path}: is damaged ({error}); delete it and run `compactor label` there again"
        ) from error
    if records.dtype != record_dtype(header) or records.shape != (job.rows, job.part.views):
        raise IntegrityError(
            f"label store {path}: holds records of another layout than its header says; delete it and run "
            "`compactor label` there again"
        )
    return records


def _require_same(there: Records, records: Records, path: Path, source: Path) -> None:
    """Rule 3."""
    if there.tobytes() != records.tobytes():
        raise IntegrityError(
            f"label store {path}: differs from the shard of that name in {source}, though both describe the "
            "same labels (other kinds of machines round differently); keep one of the two, and merge into an "
            "empty folder"
        )
