"""What torch models, teachers and artifacts say on a split; `compactor.run.truth` compares them."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.data.loader import eval_batches
from compactor.data.splits import Split
from compactor.models.classifier import ImageClassifier
from compactor.records import Batch
from compactor.teachers import Teachers
from compactor_runtimes.metrics import accuracy
from compactor_runtimes.runtime import Runtime

EVAL_BATCH = 256
Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]


@torch.no_grad()
def student_logits(model: nn.Module, split: Split, *, progress: Progress | None = None) -> Floats:
    """Logits [N, C] of a torch classifier in eval mode; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits = _collect(
        split, lambda batch: model(**batch.to(device).x)["label"].float().cpu().numpy(), progress
    )
    model.train(was_training)
    return logits


def teacher_logits(teachers: Teachers, split: Split, *, progress: Progress | None = None) -> Floats:
    """Log of the teachers' mean probabilities [N, C], which serve as logits: their softmax is that mean."""
    device = next(teachers.models[0].parameters()).device

    def run(batch: Batch) -> Floats:
        log_probs = teachers(batch.to(device)).log_probs
        assert log_probs is not None
        return log_probs["label"].cpu().numpy()

    return _collect(split, run, progress)


def artifact_logits(
    runtime: Runtime, model: ImageClassifier, split: Split, *, progress: Progress | None = None
) -> Floats:
    """Logits [N, C] of an exported artifact."""
    name, output = model.inputs[0].name, model.outputs[0].name

    def run(batch: Batch) -> Floats:
        return runtime.run({name: batch.x[name].numpy()})[output]

    return _collect(split, run, progress)


def select_accuracy(split: Split) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that tells a model's accuracy on the split; it tells nothing without labels."""
    labels = split_labels(split)
    if not (labels >= 0).any():
        return lambda model: {}
    return lambda model: {"select_accuracy": accuracy(student_logits(model, split), labels)}


def split_labels(split: Split) -> NDArray[np.int64]:
    """Labels [N] of a split's rows."""
    return np.asarray(split.labels["label"][split.rows])


def _collect(split: Split, run: Callable[[Batch], Floats], progress: Progress | None) -> Floats:
    parts, done = [], 0
    for batch in eval_batches(split, EVAL_BATCH):
        parts.append(run(batch))
        done += batch.size
        if progress is not None:
            progress(done, len(split))
    return np.concatenate(parts)
