"""From scores and matches to the pool: what is no copy is taken by score, and all of it is written down.

Rows and the list of removed candidates come first, `pool.json` last; they hold no times, so that the same
inputs give the same bytes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.cache.digest import file_digest
from compactor.data.pool_file import Confidence, PooledFile, PooledSource, PoolRecord, Removed
from compactor.label_store.header import STORE_FILE, Header
from compactor.label_store.write import Job
from compactor.pool.candidates import Candidates, data_place, names_of
from compactor.pool.copies import POOL, Copy, Shards
from compactor.pool.job import PoolJob
from compactor.pool.take import Scores, Taken, Taking, confidence_counts, confidence_edges, read_scores
from compactor.progress import Reporter
from compactor_runtimes.files import write_whole

ROWS = "rows-{:02d}.npy"
REMOVED = "removed.jsonl"


def choose(job: PoolJob, shards: Shards, copies: Sequence[Copy], reporter: Reporter) -> PoolRecord:
    """Take what is to be taken, and write the pool.

    Args:
        job: the pool.
        shards: the scored candidates.
        copies: those that are near-duplicates; none of them is taken.
        reporter: where progress goes.
    """
    removed = np.unique(np.array([one.id for one in copies], dtype=np.int64))
    [head] = job.header.heads
    taking = Taking(job.spec.take, head.num_classes)
    eligible = np.zeros(head.num_classes, dtype=np.int64)
    sure = np.zeros(len(confidence_edges()) - 1, dtype=np.int64)
    with reporter.bar("choose", 2 * len(shards.jobs)) as bar:
        for done, scores in enumerate(_scores(job, shards), 1):
            sure += confidence_counts(scores.p[:, 0])
            left = scores.only(~np.isin(scores.numbers, removed))
            eligible += np.bincount(left.classes[:, 0], minlength=head.num_classes)
            taking.add(left)
            bar.at(done)
        taken = taking.result()
        kept = np.zeros_like(sure)
        for done, scores in enumerate(_scores(job, shards), len(shards.jobs) + 1):
            kept += confidence_counts(scores.p[np.isin(scores.numbers, taken.numbers), 0])
            bar.at(done)
    job.chosen.mkdir(parents=True, exist_ok=True)
    files = {_below(job, path): _noted(path) for path in _write(job, taken, copies)}
    files |= _scored_files(job, shards, reporter)
    record = PoolRecord(
        recipe=job.loaded.recipe.name,
        key=job.key,
        scores_key=job.scores_key,
        settings=msgspec.to_builtins(job.spec),
        data={
            "spec": msgspec.to_builtins(data_place(job.loaded.recipe.data, job.loaded.base)),
            "splits": job.references.identity,
        },
        image=job.header.transform.image or (0, 0, 0),
        classes=job.header.classes[head.name],
        teachers=job.header.teachers,
        versions=job.header.versions,
        sources=list(_sources(job, taken)),
        candidates=len(shards.numbers),
        removed=_counted(copies),
        passed_over=len(shards.numbers) - len(removed) - len(taken.numbers),
        kept=len(taken.numbers),
        histogram=taken.histogram.tolist(),
        eligible=eligible.tolist(),
        confidence=Confidence(
            edges=confidence_edges().tolist(), candidates=sure.tolist(), kept=kept.tolist()
        ),
        scores=_below(job, job.scores),
        features=[_below(job, path) for path in shards.features],
        removed_list=_below(job, job.chosen / REMOVED),
        files=dict(sorted(files.items())),
    )
    write_whole(job.file, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return record


def score_columns(numbers: NDArray[np.int64], job: Job, path: Path, header: Header) -> Scores:
    """Scores of the candidates of one shard."""
    [head] = header.heads
    records = np.load(path, mmap_mode="r", allow_pickle=False)[:, 0]
    return read_scores(numbers[job.first : job.first + job.rows], records, header.payload, head.name)


def _scores(job: PoolJob, shards: Shards) -> Iterator[Scores]:
    for shard in shards.jobs:
        yield score_columns(shards.numbers, shard, job.scores / shard.file, job.header)


def _write(job: PoolJob, taken: Taken, copies: Sequence[Copy]) -> Iterator[Path]:
    """Write the rows of each source and the removed candidates; yield the files."""
    for index in range(len(job.candidates.sources)):
        path = job.chosen / ROWS.format(index)
        rows = job.candidates.rows_of(taken.numbers, index)
        write_whole(path, _npy(rows))
        yield path
    path = job.chosen / REMOVED
    lines = removed_lines(job.candidates, copies)
    write_whole(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    yield path


def removed_lines(candidates: Candidates, copies: Sequence[Copy]) -> Iterator[dict[str, Any]]:
    """One record a removed candidate: where it lies, how it is called, and what it is a copy of."""
    named: dict[int, Any] = {}
    for one in sorted(copies, key=lambda one: (one.id, one.against)):
        source, row = candidates.place(one.id)
        if source not in named:
            named[source] = names_of(candidates.places[source], candidates.columns[source])
        line = {"id": one.id, "source": source, "row": row, "name": named[source](row)}
        yield line | {name: getattr(one, name) for name in one.__struct_fields__ if name != "id"}


def _sources(job: PoolJob, taken: Taken) -> Iterator[PooledSource]:
    found = job.candidates
    for index, one in enumerate(found.sources):
        yield PooledSource(
            dataset=found.places[index],
            image_column=found.columns[index],
            digest=one.digest,
            images=len(one.images),
            own=found.own[index],
            kept=len(found.rows_of(taken.numbers, index)),
            rows=_below(job, job.chosen / ROWS.format(index)),
        )


def _counted(copies: Sequence[Copy]) -> list[Removed]:
    """Removed candidates by split and check, each once: a copy of an earlier split counts there."""
    first: dict[int, Copy] = {}
    for one in copies:
        first.setdefault(one.id, one)
    counts = Counter((one.against, one.check) for one in first.values())
    order = {"select": 0, "report": 1, "train": 2, POOL: 3}
    return [
        Removed(against=against, check=check, images=images)
        for (against, check), images in sorted(counts.items(), key=lambda item: (order[item[0][0]], item[0]))
    ]


def _scored_files(job: PoolJob, shards: Shards, reporter: Reporter) -> dict[str, PooledFile]:
    """The label store, whose header holds the hashes of its shards, and the features."""
    files = {_below(job, path): _noted(path) for path in [job.scores / STORE_FILE]}
    with reporter.bar("hash features", len(shards.features)) as bar:
        for done, path in enumerate(shards.features, 1):
            files[_below(job, path)] = _noted(path)
            bar.at(done)
    return files


def _noted(path: Path) -> PooledFile:
    return PooledFile(sha256=file_digest(path), bytes=path.stat().st_size)


def _below(job: PoolJob, path: Path) -> str:
    return path.relative_to(job.folder).as_posix()


def _npy(rows: NDArray[np.int64]) -> bytes:
    import io

    content = io.BytesIO()
    np.save(content, rows.astype("<i8"), allow_pickle=False)
    return content.getvalue()
