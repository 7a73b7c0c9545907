"""How far a teacher's answers on some runtime are from those of torch in fp32, and how fast they come."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.data.splits import Split
from compactor.evaluation import student_answers
from compactor.records import Batch, Head
from compactor.tasks import Answers, Task

Name = TypeVar("Name", bound=str)
ROWS = 1_024  # of select that are asked
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


def answers_of(model: nn.Module, task: Task, rows: Split, device: torch.device) -> Answers:
    """What a teacher says of rows as they are deployed; it stays on `device`."""
    return student_answers(model.to(device), task.batches(rows))


def distance(reference: Answers, found: Answers, heads: Sequence[Head]) -> Distance:
    """Compare two teachers' logits of the same rows; of several heads the worse figures are taken.

    A word without a token, whose logits are all zeros in both, does not count. Of any number of labels the
    divergences of the labels of a sample are summed, and all its decisions must be the same.
    """
    each = [_of_head(reference[head.name], found[head.name], head) for head in heads]
    return Distance(len(reference[heads[0].name]), max(kl for kl, _ in each), min(same for _, same in each))


def _of_head(
    reference: NDArray[np.floating[Any]], found: NDArray[np.floating[Any]], head: Head
) -> tuple[float, float]:
    ours, theirs = (one.astype(np.float64) for one in (reference, found))
    if head.activation == "sigmoid":
        yes, no = (_log_sigmoid(sign * ours) - _log_sigmoid(sign * theirs) for sign in (1, -1))
        p = np.exp(_log_sigmoid(ours))
        kl = (p * yes + (1 - p) * no).sum(-1)
        same = ((ours >= 0) == (theirs >= 0)).all(-1)  # probabilities from 0.5 on
    else:
        if head.level == "word":
            told = (ours != 0).any(-1)
            ours, theirs = ours[told], theirs[told]
        log_p, log_q = _log_softmax(ours), _log_softmax(theirs)
        kl = (np.exp(log_p) * (log_p - log_q)).sum(-1)
        same = ours.argmax(-1) == theirs.argmax(-1)
    return float(kl.mean()), float(same.mean())


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = logits - logits.max(-1, keepdims=True)
    shifted: NDArray[np.float64] = moved - np.log(np.exp(moved).sum(-1, keepdims=True))
    return shifted


def _log_sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0.0, -logits)


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
