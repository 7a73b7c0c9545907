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

from compactor.label_store.records import STORE_FILE, Header, read_header, record_dtype, same_identity
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
    headers = {source: _header(source, target) for source in sources}
    first, header = next(iter(headers.items()))
    for source, other in headers.items():
        if not same_identity(header, other):
            raise UsageError(
                f"label store {source}: is no share of the same store as {first} "
                f"({difference(header, other)}); merge shares of one recipe, made with the same versions"
            )
    ids = {part.split: read_ids(first, part) for part in header.parts}
    writer = StoreWriter(target, header, ids)
    jobs = jobs_of(header)
    found = [
        (source, headers[source], job)
        for source in sources
        for job in jobs
        if (source / job.file).is_file() or headers[source].parts[0].shards
    ]
    copied = 0
    with (reporter or SilentReporter()).bar("merge shards", len(found)) as bar:
        for done, (source, described, job) in enumerate(found):
            records = _shard(source, described, job)
            if (target / job.file).is_file():
                _require_same(target, source, job, records, header)
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
    left, right = (_plain(header) for header in (a, b))
    for name in left:
        if left[name] != right[name]:
            return _named(name, left[name], right[name])
    raise ValueError("difference: got two headers of one store, expected different ones")


def _plain(header: Header) -> dict[str, Any]:
    bare = [msgspec.structs.replace(part, shards=[]) for part in header.parts]
    plain: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(header, parts=bare))
    return plain


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


def _header(source: Path, target: Path) -> Header:
    if source.resolve() == target.resolve():
        raise UsageError(
            f"merge: {source} is both target and source; leave it out of the sources, what it holds stays"
        )
    return read_header(source, header_file(source))


def _shard(source: Path, header: Header, job: Job) -> Records:
    """A source's shard, memory-mapped; hashes are known of a finished source only."""
    part = next(part for part in header.parts if part.split == job.part.split)
    if part.shards:
        return read_shard(source, header, part, part.shards[job.first // part.shard_rows])
    path = source / job.file
    try:
        records: Records = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise IntegrityError(
            f"label store {path}: is damaged ({error}); delete it and run `compactor label` there again"
        ) from error
    if records.dtype != record_dtype(header) or records.shape != (job.rows, job.part.views):
        raise IntegrityError(
            f"label store {path}: holds {records.shape} records of another layout than {(source / STORE_FILE)}"
            " will say; delete it and run `compactor label` there again"
        )
    return records


def _require_same(target: Path, source: Path, job: Job, records: Records, header: Header) -> None:
    if records.tobytes() != _shard(target, msgspec.structs.replace(header, parts=_bare(header)), job).tobytes():
        raise IntegrityError(
            f"label store {source / job.file}: differs from the shard of that name in {target}, though both "
            "describe the same labels; two kinds of machines round differently, so keep one of the two and "
            "merge into an empty folder"
        )


def _bare(header: Header) -> list[Any]:
    return [msgspec.structs.replace(part, shards=[]) for part in header.parts]
