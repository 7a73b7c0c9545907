"""One pass of the teachers over recorded views: whole softmax vectors are averaged, then compressed."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.augment import pixels_from_boxes, sample_crops
from compactor.data.spec import AugmentSpec, SplitName
from compactor.data.splits import Split
from compactor.label_store.header import Header
from compactor.label_store.quantization import compress
from compactor.label_store.write import Job, StoreWriter
from compactor.progress import Bar, Reporter
from compactor.records import Batch, Crops
from compactor.tasks import Task
from compactor.teachers import Teachers
from compactor.trainer.interrupt import stop_on_signal
from compactor.trainer.memory import keep_freed_memory, threads_of_torch
from compactor_runtimes.errors import InterruptedRun

SPLIT_NUMBERS: dict[SplitName, int] = {"train": 0, "select": 1, "report": 2}


def make_labels(
    folder: Path,
    header: Header,
    splits: dict[SplitName, Split],
    task: Task,
    teachers: Teachers,
    *,
    batch_size: int,
    reporter: Reporter,
    share: tuple[int, int] = (1, 1),
    deadline_s: float | None = None,
    fold_of_row: NDArray[np.int64] | None = None,
) -> Header | None:
    """Make what is missing of a store; return its header once it is whole, None while shares are missing.

    Args:
        folder: where the store lies or will lie.
        header: what it is to hold.
        splits: the samples of each part.
        task: makes model inputs of samples and views.
        teachers: one or several; their probabilities are averaged as whole vectors.
        batch_size: views in a teachers' forward.
        reporter: where progress goes.
        share: (i, n): make the i-th of n shares only, for machines that do not share a folder.
        deadline_s: time of `time.monotonic()` at which labelling stops as if the user had asked.
        fold_of_row: int64 [rows], the folds of the training samples where labels are cross-fitted.

    Raises:
        InterruptedRun: the user or the deadline stopped it; finished shards are kept.
    """
    keep_freed_memory()
    ids = {name: split.rows for name, split in splits.items()}
    writer = StoreWriter(folder, header, ids, fold_of_row=fold_of_row)
    teachers.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    todo = sum(job.rows * job.part.views for job in writer.missing(share))
    with (
        threads_of_torch(header.threads or None),
        stop_on_signal(deadline_s) as wish,
        reporter.bar("label", todo) as bar,
    ):
        clock = _Clock(bar, "samples" if header.boxes == "none" else "crops")
        for job in writer.claim(share):
            records = writer.empty(job)
            split = splits[job.part.split]
            flat = records.reshape(-1)
            crops = draw_views(header, job, split, flat)
            sample = np.repeat(split.rows[job.first : job.first + job.rows], job.part.views)
            for asked, part in _who_labels(teachers, job, fold_of_row, batch_size):
                batch = task.batch(split, sample[part], None if crops is None else crops.part(part))
                fill_records(flat, part, header, asked, batch)
                clock.tick(batch.size)
                if wish.requested:
                    why = " by --max-hours" if wish.late else ""
                    raise InterruptedRun(
                        f"label store {folder}: stopped{why} after {clock.done:,} of {todo:,} records, "
                        "finished shards are kept"
                    )
            writer.write(job, records)
        bar.at(todo)
    return writer.finish()


def _who_labels(
    teachers: Teachers, job: Job, fold_of_row: NDArray[np.int64] | None, batch_size: int
) -> Iterator[tuple[Teachers, NDArray[np.int64]]]:
    """Who is asked about which records of a shard, in batches; each record comes once.

    All teachers about all records; where labels are cross-fitted, about training samples of a fold its
    teacher alone, which has not seen them, and about those of no fold all.
    """
    places, groups = np.arange(job.rows * job.part.views), [teachers]
    fold = np.zeros(len(places), dtype=np.int64)
    if fold_of_row is not None and job.part.split == "train":
        fold = np.repeat(fold_of_row[job.first : job.first + job.rows], job.part.views)
        groups = [*(teachers.at([number]) for number in range(len(teachers.models))), teachers]
    for number, asked in enumerate(groups):
        of_group = places[fold == number]
        for start in range(0, len(of_group), batch_size):
            yield asked, of_group[start : start + batch_size]


class _Clock:
    """Say how far it is and how fast."""

    def __init__(self, bar: Bar, unit: str) -> None:
        self.bar, self.unit, self.done, self.started_s = bar, unit, 0, time.perf_counter()

    def tick(self, count: int) -> None:
        self.done += count
        rate = self.done / (time.perf_counter() - self.started_s)
        self.bar.at(self.done, f"{rate:,.0f} {self.unit}/s")


def draw_views(header: Header, job: Job, split: Split, records: NDArray[Any]) -> Crops | None:
    """Draw the views of a shard and record them; None where samples have none.

    They depend on the store's seed, the split and the shard's first row alone. Select and report are
    labelled as they are deployed: whole and unflipped.
    """
    if header.boxes == "none":
        return None
    height, width = split.inputs.shape[1:3]
    seeds = (header.seed, SPLIT_NUMBERS[job.part.split], job.first)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seeds)))
    augment = header.transform.augment if job.part.split == "train" else AugmentSpec()
    assert augment is not None
    crops = sample_crops(augment, len(records), height, width, rng)
    if header.boxes == "pixels":
        records["box"] = np.rint(pixels_from_boxes(crops.box, height, width)).astype(np.int16)
    else:
        records["box"] = crops.box.numpy()
    records["flip"] = crops.flip.numpy()
    return crops


@torch.no_grad()
def fill_records(
    records: NDArray[Any], places: NDArray[np.int64], header: Header, teachers: Teachers, batch: Batch
) -> None:
    """Write what teachers say of a batch into the records at these places."""
    with autocast(teachers.device, header.precision):
        mixed = teachers(batch.to(teachers.device))
    assert mixed.log_probs is not None
    for head in header.heads:
        for name, values in compress(mixed.log_probs[head.name].exp(), header.payload).items():
            records[f"{head.name}.{name}"][places] = values


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Let teachers run in `fp32`, `bf16` or `fp16`."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, dtype=kinds.get(precision), enabled=precision in kinds)
