"""Sane numbers for a first training run, by task, start and amount of data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compactor.propose.commented_yaml import Entries, Entry
from compactor.propose.models import Named

SMALL_SIDE = 64  # pixels up to which a shifted whole image is the better view than a part of it
IMAGE_SAMPLES, TEXT_SAMPLES = 400_000, 60_000  # how many a stage should see
ATTENTION = ("vit", "deit", "swin", "beit", "mixer", "convnext", "eva")  # these do not learn with plain SGD
FULL_BATCH = 64  # from here on SGD's usual rates hold
SMALL_HIDDEN = 512  # encoders this narrow take, and need, larger steps


@dataclass(frozen=True)
class Amount:
    """What decides the numbers: training rows, stored side of images, whether mirroring is harmless."""

    rows: int
    side: int = 0
    flip: bool = True


def batch_size(rows: int, most: int) -> int:
    """The largest power of two up to `most` that leaves ten steps an epoch, at least 8."""
    size = most
    while size > 8 and size * 10 > rows:
        size //= 2
    return size


def image_numbers(model: Named, amount: Amount) -> Entries:
    """Optimiser, schedule and views of an image stage."""
    batch, trained = batch_size(amount.rows, 128), model.weights is not None
    epochs = min(max(round(IMAGE_SAMPLES / amount.rows), 10), 60)
    entries = _length(epochs, batch)
    if any(word in model.short.lower() for word in ATTENTION):
        entries += [
            Entry("optimizer", "adamw", "sgd or adamw"),
            Entry("lr", 5e-5 if trained else 5e-4, _rate(trained)),
            Entry("weight_decay", 0.05, "pull of the weights towards 0"),
            Entry("warmup_epochs", 1.0, "the first steps are smaller"),
        ]
    else:
        entries += [
            Entry("optimizer", "sgd", "sgd or adamw"),
            Entry("lr", _scaled(0.01 if trained else 0.1, batch), _rate(trained)),
            Entry("nesterov", True, "momentum that looks ahead"),
            Entry("weight_decay", 5e-4, "pull of the weights towards 0"),
        ]
    augment: dict[str, Any]
    if amount.side <= SMALL_SIDE:
        augment = {"crop": "pad", "padding": max(amount.side // 8, 1), "flip": amount.flip}
    else:
        augment = {"crop": "random-resized", "scale": [0.25, 1.0], "flip": amount.flip}
    return [
        *entries,
        Entry("schedule", "cosine", "the learning rate falls to 0"),
        Entry("augment", augment, "no flip where left and right differ (digits, signs)"),
    ]


def text_numbers(model: Named, amount: Amount) -> Entries:
    """Optimiser and schedule of a text stage."""
    trained = model.weights is not None
    hidden = model.config.get("hidden_size") or model.config.get("dim") or SMALL_HIDDEN + 1
    epochs = round(TEXT_SAMPLES / amount.rows)
    epochs = min(max(epochs, 3), 10) if trained else min(max(3 * epochs, 10), 30)
    rate = (2e-4 if hidden <= SMALL_HIDDEN else 5e-5) if trained else 5e-4
    return [
        *_length(epochs, batch_size(amount.rows, 32)),
        Entry("optimizer", "adamw", "sgd or adamw"),
        Entry("lr", rate, _rate(trained)),
        Entry("weight_decay", 0.01, "pull of the weights towards 0"),
        Entry("warmup_epochs", 0.5, "the first steps are smaller"),
        Entry("clip_norm", 1.0, "longest gradient that is followed"),
        Entry("schedule", "cosine", "the learning rate falls to 0"),
    ]


def stage(name: str, comment: str, lines: Sequence[Entry], numbers: Entries) -> Entries:
    """One entry of `stages`."""
    return [Entry("id", name, comment), *lines, *numbers]


def _length(epochs: int, batch: int) -> Entries:
    return [
        Entry("epochs", epochs, "passes over the training rows"),
        Entry("batch_size", batch, "samples a step"),
    ]


def _scaled(rate: float, batch: int) -> float:
    """Small batches are noisy, so SGD takes smaller steps on them: in proportion, below FULL_BATCH."""
    return float(f"{rate * min(batch / FULL_BATCH, 1.0):.3g}")


def _rate(trained: bool) -> str:
    return f"for a {'trained' if trained else 'random'} start; also try a third and 3 times of it"
