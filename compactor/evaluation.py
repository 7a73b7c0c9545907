"""What torch models, teachers and artifacts answer on a split; `compactor.release.scores` compares them.

Answers of a head of words are told by word, [N, W, S]: what a graph says of other tokens is left out, and a
word without a token (cut off, or no word) has zeros, which read as the first label.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from compactor.data.spec import Quantization
from compactor.data.splits import Split
from compactor.label_store.store import LabelStore
from compactor.records import FIRST, IGNORE, Batch, Head, head_at
from compactor.tasks import Answers, Task
from compactor.tasks.texts import TextSplit
from compactor.teachers import Teachers
from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import OutputPort
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import accuracy, cosines, macro_f1, rank_correlation
from compactor_runtimes.stats.multi_label import (
    THRESHOLD,
    average_precisions,
    decided,
    mean_average_precision,
    micro_f1,
)
from compactor_runtimes.stats.sequences import exact_match, f1_of, span_counts

Progress = Callable[[int], None]
UNSEEN = "(not in train)"
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

    Classes: accuracy and macro-F1 (against the teachers' top classes where nothing is labelled); any number
    of labels: mAP and micro-F1 at 0.5 (against the teachers' decisions where nothing is labelled);
    embeddings: rank correlation with the teachers' similarities. `taught` gives the teachers' answers and is
    called once, when they are first needed; without labels and teachers nothing is told.
    """
    if task.head.level == "token":
        return lambda model: masked_figures(model, task.batches(split))
    labels = split_labels(task, split)
    labelled = bool((labels >= 0).any())
    if not labelled and taught is None:
        return lambda model: {}
    of_words = head_at(task.heads, "word")
    said: list[Answers] = []

    def figures(model: nn.Module) -> dict[str, float]:
        answers = _in_any_order(model, task, split)
        found = headline(task, split, answers)
        if not labelled and not said:
            assert taught is not None
            said.append(taught())
        if task.head.activation == "none":
            teacher = said[0][task.head.name]
            return {"select_rank_correlation": rank_correlation(teacher, found, resamples=1).value}
        truth = labels if labelled else truth_labels(task, split, headline(task, split, said[0]))
        if task.head.activation == "sigmoid":
            return labels_figures(found, truth)
        name = "accuracy" if labelled else "agreement"
        told = {f"select_{name}": accuracy(found, truth), "select_macro_f1": macro_f1(found, truth)}
        if labelled and of_words is not None:
            predicted, gold = word_labels(task, split, answers), gold_labels(task, split)
            told["select_slot_f1"] = f1_of(span_counts(predicted, gold))
            if task.head != of_words:
                told["select_exact_match"] = float(
                    exact_match(found.argmax(-1) == truth, predicted, gold).mean()
                )
        return told

    return figures


def _in_any_order(model: nn.Module, task: Task, split: Split) -> Answers:
    """What a model says of a split's rows, in their order, asked in the order that costs least."""
    ids: list[NDArray[np.int64]] = []

    def noted() -> Iterator[Batch]:
        for batch in task.each_once(split):
            ids.append(batch.id.numpy())
            yield batch

    asked = student_answers(model, noted())
    place = np.argsort(np.concatenate(ids))  # a split's rows ascend
    return {head: values[place] for head, values in asked.items()}


def labels_figures(logits: NDArray[np.floating[Any]], truth: NDArray[np.int64]) -> dict[str, float]:
    """MAP, where some row has a label and some has not, and micro-F1 at 0.5, of logits [N, C]."""
    thresholds = [THRESHOLD] * logits.shape[1]
    told = {"select_f1": micro_f1(decided(logits, thresholds), truth)}
    if np.isfinite(average_precisions(logits, truth)).any():
        told = {"select_map": mean_average_precision(logits, truth), **told}
    return told


@torch.no_grad()
def masked_figures(model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean cross-entropy (nats) to the hidden tokens of a split, and the share guessed rightly."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    loss, right, count = 0.0, 0, 0
    for batch in batches:
        batch = batch.to(device)
        for head, logits in model(**batch.x).items():
            labels = batch.y[head]
            loss += float(F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum"))
            right += int((logits.argmax(-1) == labels).sum())
            count += int((labels != IGNORE).sum())
    model.train(was_training)
    return {"select_loss": loss / max(count, 1), "select_accuracy": right / max(count, 1)}


def headline(task: Task, split: Split, answers: Answers) -> NDArray[np.floating[Any]]:
    """What the headline metric reads: logits [N, C] (embeddings [N, D]); of a head of words [words, S]."""
    found = answers[task.head.name]
    return found[_labels(task.head, split) != IGNORE] if task.head.level == "word" else found


def sample_ids(task: Task, split: Split) -> NDArray[np.int64]:
    """What identifies each sample that the headline counts: the row, of words row * W + word."""
    if task.head.level != "word":
        return split.rows
    labels = _labels(task.head, split)
    rows, words = np.nonzero(labels != IGNORE)
    return np.asarray(split.rows[rows] * labels.shape[1] + words)


def class_names(task: Task, split: Split, classes: list[str]) -> list[str]:
    """Names of all labels that `split_labels` may hold: `classes`, and what train never shows."""
    if head_at(task.heads, "word") is None:
        return classes
    assert isinstance(split, TextSplit)
    return split.word_names if task.head.level == "word" else [*classes, UNSEEN]


def gold_labels(task: Task, split: Split) -> list[list[str]]:
    """BIO labels of each text's words, also those that train never shows."""
    of_words = _words_of(task)
    return _named(of_words, split, _labels(of_words, split))


def word_labels(task: Task, split: Split, answers: Answers) -> list[list[str]]:
    """BIO labels that were answered for the words that have a label."""
    of_words = _words_of(task)
    return _named(of_words, split, answers[of_words.name].argmax(-1))


def _words_of(task: Task) -> Head:
    """The task's head of words, which only tasks that have one are asked for."""
    found = head_at(task.heads, "word")
    assert found is not None
    return found


def _labels(head: Head, split: Split) -> NDArray[np.int64]:
    """Labels of a split's rows, [N] or of words [N, W]."""
    return split.labels[head.name][split.rows]


def _named(head: Head, split: Split, labels: NDArray[np.int64]) -> list[list[str]]:
    """Names of labels [N, W] where the split has a label."""
    assert isinstance(split, TextSplit)
    known = _labels(head, split) != IGNORE
    return [[split.word_names[label] for label in row[own]] for row, own in zip(labels, known, strict=True)]


def split_labels(task: Task, split: Split) -> NDArray[np.int64]:
    """Labels of a split's rows for the task's head, -100 where there is none; of words, all that are.

    Where any number of labels may be true they are ones and zeros [N, C].
    """
    if not task.head.is_labelled:
        return np.full(len(split), IGNORE, dtype=np.int64)
    labels = _labels(task.head, split)
    return labels[labels != IGNORE] if task.head.level == "word" else labels


def truth_labels(task: Task, split: Split, teacher: NDArray[np.floating[Any]] | None) -> NDArray[np.int64]:
    """The split's labels or, where it has none at all, what the teachers say (`headline` of their answers).

    What they say is their top class or, of any number of labels, those from a probability of 0.5 on.

    Raises:
        UsageError: neither labels nor teachers.
    """
    labels = split_labels(task, split)
    if not task.head.is_labelled or (labels >= 0).any():
        return labels
    if teacher is None:
        raise UsageError(
            f"data: the {split.name} split has no labels and there is no teacher, so nothing can be judged; "
            "label some rows or name a teacher"
        )
    said = decided(teacher, THRESHOLD) if task.head.activation == "sigmoid" else teacher.argmax(-1)
    return np.asarray(said, dtype=np.int64)


def same_answers(
    task: Task, reference: Answers, found: Answers, thresholds: Sequence[float] = (THRESHOLD,)
) -> NDArray[np.bool_] | NDArray[np.float64]:
    """Whether both answer each sample alike, bool [N]; of any number of labels how much so, float [N].

    Classes: the top class of every head and position. Labels: the share of a sample's decisions at
    `thresholds` that are the same. Embeddings: a cosine of at least `SAME_DIRECTION`.
    """
    if task.head.activation == "sigmoid":
        one, other = (decided(each[task.head.name], thresholds) for each in (reference, found))
        return np.asarray((one == other).mean(-1), np.float64)
    if task.head.activation == "none":
        name = task.head.name
        return np.asarray(cosines(reference[name], found[name]) >= SAME_DIRECTION)
    same = [
        np.equal(found[name].argmax(-1), reference[name].argmax(-1)).reshape(len(reference[name]), -1)
        for name in reference
    ]
    return np.asarray(np.concatenate(same, axis=1).all(1))


def of_words(values: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
    """Take what was said of each word's first token: [B, L, S] -> [B, W, S], zeros for a word without one."""
    first = batch.aux[FIRST].cpu().numpy()
    taken = np.take_along_axis(values, np.maximum(first, 0)[:, :, None], axis=1)
    return np.where(first[:, :, None] >= 0, taken, np.float32(0))


def _collect(
    batches: Iterable[Batch],
    run: Callable[[Batch], dict[str, NDArray[np.float32]]],
    progress: Progress | None,
) -> Answers:
    parts: dict[str, list[NDArray[np.float32]]] = {}
    done = 0
    for batch in batches:
        for head, values in run(batch).items():
            parts.setdefault(head, []).append(of_words(values, batch) if values.ndim == 3 else values)
        done += batch.size
        if progress is not None:
            progress(done)
    return {head: np.concatenate(values) for head, values in parts.items()}
