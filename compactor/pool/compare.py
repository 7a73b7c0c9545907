"""Run the search for near-duplicates over the scored candidates of a pool."""

import numpy as np

from compactor.data.picked import Picked
from compactor.pool.copies import (
    WITHIN,
    Copy,
    Shards,
    copies_of_candidates,
    find_copies,
    missing,
    read_copies,
    read_lines,
    write_lines,
)
from compactor.pool.job import PoolJob
from compactor.pool.near_duplicates import NearDuplicates, within
from compactor.pool.scores import Embedder
from compactor.progress import Reporter


def compare(
    job: PoolJob,
    shards: Shards,
    embedder: Embedder,
    *,
    reporter: Reporter,
    deadline_s: float | None,
) -> list[Copy]:
    """Find the candidates that are copies.

    Copies of select, report and train come first, each by the first reference that it matches; then those of
    other candidates, among what is left.

    Raises:
        InterruptedRun: stopped; what was compared is kept.
    """
    if missing(job.matches, shards):
        references = job.references.images
        with reporter.bar("look at references", len(references)) as bar:
            matcher = NearDuplicates(
                references,
                embedder.of_images,
                settings=job.spec.duplicates.thresholds,
                progress=lambda done, _: bar.at(done),
            )
        find_copies(
            job.matches,
            shards,
            job.candidates.images,
            job.references,
            matcher,
            reporter=reporter,
            deadline_s=deadline_s,
        )
    copies = read_copies(job.matches, shards)
    if not job.spec.duplicates.within:
        return copies
    path = job.matches / WITHIN
    if not path.is_file():
        write_lines(path, _within(job, shards, copies, reporter))
    return [*copies, *read_lines(path)]


def _within(job: PoolJob, shards: Shards, copies: list[Copy], reporter: Reporter) -> list[Copy]:
    left = ~np.isin(shards.numbers, np.array([one.id for one in copies], dtype=np.int64))
    numbers = shards.numbers[left]
    images = Picked(job.candidates.images.parts, numbers)
    features = Picked(
        [np.load(path, mmap_mode="r", allow_pickle=False) for path in shards.features], np.flatnonzero(left)
    )
    with reporter.bar("compare within the pool", len(numbers)) as bar:
        found = within(
            images, features, settings=job.spec.duplicates.thresholds, progress=lambda done, _: bar.at(done)
        )
    return copies_of_candidates(numbers, found)
