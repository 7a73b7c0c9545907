"""How long teachers take for a record, and how many rows a shard then has where several processes label."""

import time

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.label_store.header import Header, record_dtype
from compactor.label_store.make import draw_views, fill_records
from compactor.label_store.write import MOST_SHARDS, Job
from compactor.tasks import Task
from compactor.teachers import Teachers
from compactor.trainer.memory import keep_freed_memory, threads_of_torch

SHARD_S = 120.0  # what a shard should take: 1 to 5 minutes, so that little is lost and little is managed
SHARDS_A_WORKER = 4  # at least, so that all end at about the same time
PROBE_S = 5.0


def seconds_a_record(
    header: Header,
    split: Split,
    task: Task,
    teachers: Teachers,
    *,
    batch_size: int,
    threads: int,
    probe_s: float = PROBE_S,
) -> float:
    """Label batches of the first training samples for some seconds, and keep nothing.

    Args:
        header: what a store is to hold.
        split: the training samples.
        task: makes model inputs.
        teachers: where they will run.
        batch_size: views in a forward.
        threads: of the processor.
        probe_s: how long to try, after a first batch that is not counted.
    """
    keep_freed_memory()
    [part] = [one for one in header.parts if one.split == "train"]
    rows = min(part.rows, -(-batch_size // part.views))
    job = Job(0, part, 0, rows)
    sample: NDArray[np.int64] = np.repeat(split.rows[:rows], part.views)[:batch_size]
    records = np.zeros(rows * part.views, dtype=record_dtype(header))
    crops = draw_views(header, job, split, records)
    places = np.arange(len(sample))
    with threads_of_torch(threads):
        started_s, done = 0.0, -1
        while done < 0 or time.perf_counter() - started_s < probe_s:
            batch = task.batch(split, sample, None if crops is None else crops.part(places))
            fill_records(records, places, header, teachers, batch)
            done += 1
            if done == 0:
                started_s = time.perf_counter()
        return (time.perf_counter() - started_s) / (done * len(sample))


def divided(
    header: Header, seconds: float, *, workers: int, threads: int, shards: int | None = None
) -> Header:
    """The header with as many rows a shard as take about SHARD_S, and fewer where workers would be idle.

    Args:
        header: what a store is to hold.
        seconds: a record takes.
        workers: processes that label.
        threads: each of them has.
        shards: of each part, in the place of what the time says.
    """
    parts = []
    for part in header.parts:
        by_time = max(1, round(SHARD_S / (seconds * part.views)))
        by_workers = -(-part.rows // (SHARDS_A_WORKER * workers))
        rows = min(by_time, by_workers)
        if shards is not None:
            rows = -(-part.rows // shards)
        parts.append(replace(part, shard_rows=max(rows, -(-part.rows // MOST_SHARDS), 1)))
    return replace(header, parts=parts, threads=threads)
