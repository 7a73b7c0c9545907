"""Read a pool as a whole: every hash is checked, and what was removed is listed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.digest import file_digest
from compactor.data.pool_file import PoolPart, PoolRecord, damage, path_in, pool_file, read_file, read_pool
from compactor.label_store.store import LabelStore, open_store
from compactor.progress import Reporter
from compactor_runtimes.errors import IntegrityError


@dataclass(frozen=True)
class PoolInspection:
    """A pool that is whole: its file, its parts and scores, what it takes on disk, and what was removed.

    `removed` are the records of removed.jsonl: `id`, `source`, `row` and `name` of a candidate, `against`,
    `of`, `check`, `transform`, `score` and `similarity` of its match.
    """

    file: Path
    digest: str
    record: PoolRecord
    parts: list[PoolPart]
    scores: LabelStore
    size_bytes: int
    removed: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json; the removed candidates stay in their file."""
        found: dict[str, Any] = msgspec.to_builtins(self.record)
        del found["files"], found["features"]
        return {"file": str(self.file), "digest": self.digest, "size_bytes": self.size_bytes, **found}


def inspect_pool(path: Path, *, reporter: Reporter) -> PoolInspection:
    """Check every file of a pool and read its record.

    Args:
        path: of the pool's folder, or of its pool.json.
        reporter: where progress goes.

    Raises:
        UsageError: there is no pool.
        IntegrityError: a file is missing, damaged, or lies outside the pool's folder.
    """
    opened = read_pool(path)
    file, record = pool_file(path), opened.record
    with reporter.bar("check pool", sum(one.bytes for one in record.files.values())) as bar:
        done = 0
        for name, one in record.files.items():
            digest = file_digest(path_in(file, record, name))
            if digest != one.sha256:
                raise IntegrityError(damage(file, name, digest, one.sha256))
            done += one.bytes
            bar.at(done)
    store = open_store(file.parent / record.scores, reporter=reporter)
    lines = read_file(file, record, record.removed_list).splitlines()
    size = file.stat().st_size + sum(one.bytes for one in record.files.values())
    labels = store.size_bytes - (file.parent / record.scores / "store.json").stat().st_size
    removed = [msgspec.json.decode(line) for line in lines]
    return PoolInspection(file, opened.digest, record, opened.parts, store, size + labels, removed)
