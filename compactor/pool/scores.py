"""One pass of the teachers over all candidates: a label store of one whole view an image, features beside it.

1. A shard of features appears, by one rename, before the store's shard of the same images; who holds that
   shard's lock makes both. What has its name is whole.
2. Select and report images that candidates are compared with go through the same teachers (`Embedder`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.splits import Split
from compactor.label_store.header import Header
from compactor.label_store.make import autocast
from compactor.label_store.quantization import compress
from compactor.label_store.write import Job, StoreWriter
from compactor.models.features import Feature
from compactor.models.student import Student
from compactor.pool.pace import Pace
from compactor.progress import Reporter
from compactor.records import PENULTIMATE, Outputs
from compactor.tasks import Task
from compactor.teachers import Teachers
from compactor.trainer.interrupt import stop_on_signal
from compactor.trainer.memory import keep_freed_memory
from compactor_runtimes.files import written_whole

FEATURES = "features-{:05d}.npy"
LOG_PROBABILITIES = "log-probabilities"


class Embedder:
    """What the teachers say of images, and what the first of them makes of them before its last layer.

    `kind` is `penultimate`, or `log-probabilities` where the first teacher has no such feature; `width` its
    numbers an image.
    """

    def __init__(self, teachers: Teachers, task: Task, *, batch_size: int, precision: str) -> None:
        """Move the teachers to where they run, and look for the feature."""
        self.teachers, self.task = teachers, task
        self.batch_size, self.precision = batch_size, precision
        first = teachers.models[0]
        known = first.features if isinstance(first, Student) else {}
        self.wanted: Mapping[str, Feature] = {name: known[name] for name in (PENULTIMATE,) if name in known}
        self.kind = PENULTIMATE if self.wanted else LOG_PROBABILITIES
        assert isinstance(first, Student)
        classes = len(first.info.classes[task.head.name])
        self.width = self.wanted[PENULTIMATE].width if self.wanted else classes
        teachers.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @torch.no_grad()
    def answer(self, split: Split, ids: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.float16]]:
        """Probabilities [B, C] of some images of a split, and their features float16 [B, width]."""
        batch = self.task.batch(split, ids, None)
        with autocast(self.teachers.device, self.precision):
            outputs = self.teachers(batch.to(self.teachers.device), self.wanted)
        assert outputs.log_probs is not None
        log_probs = outputs.log_probs[self.task.head.name]
        return log_probs.exp(), self._feature(outputs, log_probs)

    def features(self, split: Split) -> NDArray[np.float16]:
        """Features [n, width] of all images of a split."""
        found = np.empty((len(split), self.width), dtype=np.float16)
        for start in range(0, len(split), self.batch_size):
            ids = split.rows[start : start + self.batch_size]
            found[start : start + len(ids)] = self.answer(split, ids)[1]
        return found

    def of_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [n, width] of images uint8 [n, H, W, C]."""
        whole = Split("report", images, {}, np.arange(len(images), dtype=np.int64), "")
        return self.features(whole).astype(np.float32)

    def _feature(self, outputs: Outputs, log_probs: Tensor) -> NDArray[np.float16]:
        value = outputs.features[PENULTIMATE] if self.wanted else log_probs
        flat = value.float().flatten(1, -2).mean(1) if value.dim() > 2 else value.float()
        largest = float(np.finfo(np.float16).max)  # an infinite number would have no neighbour
        return flat.clamp(-largest, largest).cpu().numpy().astype(np.float16)


def forecast_features(rows: int, width: int) -> int:
    """Bytes of the features of that many images."""
    return rows * width * 2


def features_file(job: Job) -> str:
    """Name of the features beside a shard of the store."""
    return FEATURES.format(job.first // job.part.shard_rows)


def make_scores(
    folder: Path,
    header: Header,
    split: Split,
    embedder: Embedder,
    *,
    reporter: Reporter,
    share: tuple[int, int] = (1, 1),
    deadline_s: float | None = None,
) -> Header | None:
    """Make what is missing of scores and features; return the header once all are there, else None.

    Args:
        folder: of the label store.
        header: what it is to hold.
        split: the candidates.
        embedder: asks the teachers.
        reporter: where progress goes.
        share: (i, n): make the i-th of n shares only.
        deadline_s: time of `time.monotonic()` at which it stops as if the user had asked.

    Raises:
        InterruptedRun: the user or the deadline stopped it; finished shards are kept.
    """
    keep_freed_memory()
    writer = StoreWriter(folder, header, {"train": split.rows})
    for job in writer.jobs_of_all:
        if not (folder / features_file(job)).is_file():  # someone took it away: rule 1 left none out
            (folder / job.file).unlink(missing_ok=True)
    todo = sum(job.rows for job in writer.missing(share))
    with stop_on_signal(deadline_s) as wish, reporter.bar("score", todo) as bar:
        pace = Pace("scores", todo, bar, reporter, wish, folder)
        for job in writer.claim(share):
            _make(writer, job, split, embedder, pace)
            pace.shard_done()
        bar.at(todo)
    return writer.finish()


def _make(writer: StoreWriter, job: Job, split: Split, embedder: Embedder, pace: Pace) -> None:
    """Make one shard: features first, then the records."""
    records = writer.empty(job)[:, 0]
    ids = split.rows[job.first : job.first + job.rows]
    height, width = split.inputs.shape[1:3]
    records["box"] = np.array([0, 0, height, width])
    path = writer.folder / features_file(job)
    for rest in writer.folder.glob(f".{path.name}.*"):
        rest.unlink(missing_ok=True)
    with written_whole(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f2", "fortran_order": False, "shape": (job.rows, embedder.width)}
        )
        for start in range(0, len(ids), embedder.batch_size):
            part = slice(start, start + embedder.batch_size)
            probabilities, features = embedder.answer(split, ids[part])
            for name, values in compress(probabilities, writer.header.payload).items():
                records[f"{embedder.task.head.name}.{name}"][part] = values
            file.write(features.tobytes())
            pace.tick(len(features))
    writer.write(job, records[:, None])
