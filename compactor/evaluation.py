"""What torch models, teachers and artifacts answer on a split; `compactor.run.truth` compares the answers."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.data.splits import Split
from compactor.records import Batch
from compactor.tasks import Answers, Task
from compactor.teachers import Teachers
from compactor_runtimes.manifest import OutputPort
from compactor_runtimes.metrics import accuracy
from compactor_runtimes.runtime import Runtime

Progress = Callable[[int], None]


@torch.no_grad()
def student_answers(
    model: nn.Module, batches: Iterable[Batch], *, progress: Progress | None = None
) -> Answers:
    """Logits of a torch model in eval mode, by head; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    answers = _collect(
        batches,
        lambda batch: {
            head: value.float().cpu().numpy() for head, value in model(**batch.to(device).x).items()
        },
        progress,
    )
    model.train(was_training)
    return answers


def teacher_answers(
    teachers: Teachers, batches: Iterable[Batch], *, progress: Progress | None = None
) -> Answers:
    """Log of the teachers' mean probabilities, which serve as logits: their softmax is that mean."""

    def run(batch: Batch) -> dict[str, NDArray[np.float32]]:
        log_probs = teachers(batch.to(teachers.device)).log_probs
        assert log_probs is not None
        return {head: value.cpu().numpy() for head, value in log_probs.items()}

    return _collect(batches, run, progress)


def artifact_answers(
    runtime: Runtime, outputs: list[OutputPort], batches: Iterable[Batch], *, progress: Progress | None = None
) -> Answers:
    """Logits of an exported artifact, by head (an output's `labels`)."""
    heads = {port.name: port.labels or port.name for port in outputs}

    def run(batch: Batch) -> dict[str, NDArray[np.float32]]:
        found = runtime.run({name: value.numpy() for name, value in batch.x.items()})
        return {head: found[name] for name, head in heads.items()}

    return _collect(batches, run, progress)


def select_accuracy(task: Task, split: Split) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that tells a model's accuracy on the split; it tells nothing without labels."""
    labels = split_labels(task, split)
    if not (labels >= 0).any():
        return lambda model: {}
    return lambda model: {
        "select_accuracy": accuracy(student_answers(model, task.batches(split))[task.head], labels)
    }


def split_labels(task: Task, split: Split) -> NDArray[np.int64]:
    """Labels of a split's rows for the task's head."""
    return np.asarray(split.labels[task.head][split.rows])


def _collect(
    batches: Iterable[Batch],
    run: Callable[[Batch], dict[str, NDArray[np.float32]]],
    progress: Progress | None,
) -> Answers:
    parts: dict[str, list[NDArray[np.float32]]] = {}
    done = 0
    for batch in batches:
        for head, values in run(batch).items():
            parts.setdefault(head, []).append(values)
        done += batch.size
        if progress is not None:
            progress(done)
    return {head: np.concatenate(values) for head, values in parts.items()}
