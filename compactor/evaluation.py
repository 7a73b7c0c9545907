"""What torch models, teachers and artifacts answer on a split; `compactor.run.truth` compares the answers."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.data.splits import Split
from compactor.label_store.records import Quantization
from compactor.label_store.store import LabelStore
from compactor.records import IGNORE, Batch
from compactor.tasks import Answers, Task
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import OutputPort
from compactor_runtimes.metrics import accuracy, cosines, macro_f1, rank_correlation
from compactor_runtimes.runtime import Runtime

Progress = Callable[[int], None]
SAME_DIRECTION = 0.999  # cosine from which on two embeddings count as the same answer


@torch.no_grad()
def student_answers(
    model: nn.Module, batches: Iterable[Batch], *, progress: Progress | None = None
) -> Answers:
    """Logits of a torch model in eval mode, by head; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    device = next(model.parameters(), torch.empty(0)).device  # an exported teacher has none
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
    """Log of the teachers' mean probabilities, which serve as logits: their softmax is that mean.

    A head without probabilities (embeddings) gives the mean of the teachers' outputs.
    """

    def run(batch: Batch) -> dict[str, NDArray[np.float32]]:
        mixed = teachers(batch.to(teachers.device))
        answers = mixed.logits | (mixed.log_probs or {})
        return {head: value.float().cpu().numpy() for head, value in answers.items()}

    return _collect(batches, run, progress)


def artifact_answers(
    runtime: Runtime, outputs: list[OutputPort], batches: Iterable[Batch], *, progress: Progress | None = None
) -> Answers:
    """Logits of an exported artifact, by head (an output's `labels`)."""
    heads = {port.name: port.labels or port.name for port in outputs}  # an embedding's head is its name

    def run(batch: Batch) -> dict[str, NDArray[np.float32]]:
        found = runtime.run({name: value.numpy() for name, value in batch.x.items()})
        return {head: found[name] for name, head in heads.items()}

    return _collect(batches, run, progress)


def stored_answers(store: LabelStore, split: Split) -> Answers | None:
    """What the teachers said of a split's whole samples, from a label store: log-probabilities by head.

    They are as exact as the store keeps them: the largest class always is. None if the store does not hold
    these samples.
    """
    part = store.parts.get(split.name)
    if part is None or split.name == "train" or not np.isin(split.rows, part.ids).all():
        return None
    records = part.records(split.rows, np.zeros(len(split), dtype=np.int64))
    kind, k = part.header.payload.kind, part.header.payload.k
    reading: Quantization = "marginal-smoothing" if kind == "top-k" else "full" if kind == "full" else "hard"
    return {
        head.name: part.soft(records, head.name, reading, k).dense_log_p(head.num_classes).numpy()
        for head in part.header.heads
    }


def select_figures(
    task: Task, split: Split, taught: Callable[[], Answers] | None = None
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that tells how good a model is on the split, as `select_<figure>`.

    Classes: accuracy and macro-F1 (against the teachers' top classes where nothing is labelled); embeddings:
    rank correlation with the teachers' similarities. `taught` gives the teachers' answers and is called once,
    when they are first needed; without labels and teachers nothing is told.
    """
    labels = split_labels(task, split)
    labelled = bool((labels >= 0).any())
    if not labelled and taught is None:
        return lambda model: {}
    said: list[Answers] = []

    def figures(model: nn.Module) -> dict[str, float]:
        found = student_answers(model, task.batches(split))[task.head]
        if not labelled and not said:
            assert taught is not None
            said.append(taught())
        if task.answers == "embedding":
            teacher = said[0][task.head]
            return {"select_rank_correlation": rank_correlation(teacher, found, resamples=1).value}
        truth = labels if labelled else said[0][task.head].argmax(-1)
        name = "accuracy" if labelled else "agreement"
        return {f"select_{name}": accuracy(found, truth), "select_macro_f1": macro_f1(found, truth)}

    return figures


def split_labels(task: Task, split: Split) -> NDArray[np.int64]:
    """Labels of a split's rows for the task's head, -100 where there is none."""
    if task.answers == "embedding":
        return np.full(len(split), IGNORE, dtype=np.int64)
    return np.asarray(split.labels[task.head][split.rows])


def truth_labels(task: Task, split: Split, teacher: Answers | None) -> NDArray[np.int64]:
    """The split's labels or, where it has none at all, what the teachers say.

    Raises:
        UsageError: neither labels nor teachers.
    """
    labels = split_labels(task, split)
    if task.answers == "embedding" or (labels >= 0).any():
        return labels
    if teacher is None:
        raise UsageError(
            f"data: the {split.name} split has no labels and there is no teacher, so nothing can be judged; "
            "label some rows or name a teacher"
        )
    return np.asarray(teacher[task.head].argmax(-1), dtype=np.int64)


def same_answers(task: Task, reference: Answers, found: Answers) -> NDArray[np.bool_]:
    """Whether both answer each sample alike, bool [N].

    Classes: the top class of every head and position. Embeddings: a cosine of at least `SAME_DIRECTION`.
    """
    if task.answers == "embedding":
        return np.asarray(cosines(reference[task.head], found[task.head]) >= SAME_DIRECTION)
    same = [
        np.equal(found[name].argmax(-1), reference[name].argmax(-1)).reshape(len(reference[name]), -1)
        for name in reference
    ]
    return np.asarray(np.concatenate(same, axis=1).all(1))


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
