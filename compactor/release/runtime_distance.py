"""How far a teacher's answers on some runtime are from those of torch in fp32, and how fast they come.

Teachers are often surest of whole images, above all of those that they were trained on, and what is sure
moves little. So images are asked about twice: whole, and cut as the stage cuts those that it teaches on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.data.augment import sample_crops
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.evaluation import student_answers
from compactor.records import Batch, Head
from compactor.tasks import Answers, Task
from compactor_runtimes.stats.metrics import agreement, mean_kl
from compactor_runtimes.stats.multi_label import mean_bernoulli_kl

Name = TypeVar("Name", bound=str)
ROWS = 1_024  # of select that are asked
VIEWS_SEED = 0
CUT_BATCH = 256
ROUNDS = 5  # timed ones; those far behind after the first are left there
FAR_BEHIND = 2.0  # times the fastest


class Distance(NamedTuple):
    """Mean KL(torch || runtime) in nat and share of equal top classes over `rows` rows."""

    rows: int
    kl: float
    agreement: float


def asked_rows(select: Split) -> Split:
    """At most ROWS rows of select, evenly."""
    every = np.linspace(0, len(select) - 1, min(ROWS, len(select))).astype(np.int64)
    return replace(select, rows=select.rows[every])


def answers_of(
    model: nn.Module, task: Task, rows: Split, augment: AugmentSpec, device: torch.device
) -> list[Answers]:
    """What a teacher says of rows as they are deployed and, of images, once cut; it stays on `device`.

    Args:
        model: the teacher.
        task: makes the batches.
        rows: of select.
        augment: how the stage cuts what it teaches on.
        device: where it answers.
    """
    model.to(device)
    said = [student_answers(model, task.batches(rows))]
    if draws_views(augment):
        said.append(student_answers(model, _cut(task, rows, augment)))
    return said


def draws_views(augment: AugmentSpec) -> bool:
    """Whether a stage teaches on other views than whole images."""
    return augment.crop != "none" or augment.flip


def _cut(task: Task, rows: Split, augment: AugmentSpec) -> Iterator[Batch]:
    """Each row once, in views that are the same each time."""
    height, width = rows.inputs.shape[1:3]
    rng = np.random.Generator(np.random.Philox(VIEWS_SEED))
    crops = sample_crops(augment, len(rows), height, width, rng)
    for start in range(0, len(rows), CUT_BATCH):
        part = slice(start, start + CUT_BATCH)
        yield task.batch(rows, rows.rows[part], crops.part(part))


def distance(reference: Sequence[Answers], found: Sequence[Answers], heads: Sequence[Head]) -> Distance:
    """Compare two teachers' logits of the same rows; of views and heads the worse figures are taken.

    A word without a token, whose logits are all zeros in both, does not count. Of any number of labels the
    divergences of the labels of a sample are summed, and all its decisions must be the same.
    """
    each = [
        _of_head(ours[head.name], theirs[head.name], head)
        for ours, theirs in zip(reference, found, strict=True)
        for head in heads
    ]
    rows = len(reference[0][heads[0].name])
    return Distance(rows, max(kl for kl, _ in each), min(same for _, same in each))


def _of_head(
    reference: NDArray[np.floating[Any]], found: NDArray[np.floating[Any]], head: Head
) -> tuple[float, float]:
    if head.activation == "sigmoid":
        same = ((reference >= 0) == (found >= 0)).all(-1)  # probabilities from 0.5 on
        return mean_bernoulli_kl(reference, found), float(same.mean())
    if head.level == "word":
        told = (reference != 0).any(-1)
        reference, found = reference[told], found[told]
    return mean_kl(reference, found), agreement(reference, found)


@torch.no_grad()
def speeds(models: Mapping[Name, nn.Module], batch: Batch) -> dict[Name, float]:
    """Time forwards of one batch in rounds in which each model has its turn; samples a second by name."""
    seconds: dict[Name, list[float]] = {name: [] for name in models}
    running = list(models)
    for round_ in range(ROUNDS + 1):
        for name in running:
            started = perf_counter()
            answers = models[name](**batch.x)
            float(next(iter(answers.values())).sum())  # a GPU is waited for
            if round_:  # the first one warms up
                seconds[name].append(perf_counter() - started)
        if round_ == 1:
            fastest = min(times[0] for times in seconds.values())
            running = [name for name in running if seconds[name][0] <= FAR_BEHIND * fastest]
    return {name: batch.size / median(times) for name, times in seconds.items()}
