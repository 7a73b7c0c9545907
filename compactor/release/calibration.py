"""The real samples on which static int8 is calibrated: a fixed random part of a split, as fed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Dataset
from compactor.records import Batch
from compactor.tasks import Task
from compactor_runtimes.bundle.manifest import Calibration


def calibration_samples(
    task: Task, data: Dataset, wanted: Calibration, *, seed: int
) -> dict[str, NDArray[Any]]:
    """Draw samples without replacement, in an order that depends on the seed alone.

    Args:
        task: makes the batch.
        data: its `wanted.split` is read.
        wanted: how many samples; all there are where the split has fewer.
        seed: of the draw.

    Returns:
        One array [N, ...] for each input of the graph.
    """
    split = {"train": data.train, "select": data.select}[wanted.split]
    chosen = np.random.default_rng(seed).permutation(split.rows)[: wanted.samples]
    return arrays_of(task.batch(split, np.sort(chosen), None))


def arrays_of(batch: Batch) -> dict[str, NDArray[Any]]:
    """The feeds of a batch as numpy arrays."""
    return {name: value.numpy() for name, value in batch.x.items()}
