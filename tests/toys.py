"""Small stand-ins shared by the tests: a data set, a network without BatchNorm, and stage settings."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compactor.data.splits import Split
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.recipe.spec import StageSpec
from compactor.records import DataInfo, ImageInfo

CLASSES = ["circle", "square", "star"]


def info(size: int = 8, channels: int = 1, classes: list[str] | None = None) -> DataInfo:
    return DataInfo("image-classification", {"label": classes or CLASSES}, ImageInfo(size, size, channels))


def split(n: int = 24, size: int = 8, channels: int = 1, seed: int = 0) -> Split:
    """Random images whose class is their brightest third, so that a small network can learn them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    images = rng.integers(0, 128, (n, size, size, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * size // 3 : (label + 1) * size // 3] += 127
    return Split("train", images, {"label": labels}, np.arange(n), f"toy-{n}-{seed}")


class Mlp(nn.Module):
    """No BatchNorm and dropout on demand: what bit-exact resume and data-parallel tests need."""

    def __init__(
        self, num_classes: int = 3, pixels: int = 64, hidden: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def classifier(seed: int = 0, **options: Any) -> ImageClassifier:
    torch.manual_seed(seed)
    return ImageClassifier(Backbone(Mlp(**options), [0.5], [0.5]), info())


def stage(**changes: Any) -> StageSpec:
    return StageSpec(
        **{"id": "toy", "method": "supervised", "epochs": 3, "batch_size": 8, "lr": 0.05, **changes}
    )


def not_a_model(num_classes: int) -> list[int]:
    return [num_classes]


def several_classifier(classes: list[str], seed: int = 0) -> ImageClassifier:
    """A small network that answers with any number of labels."""
    torch.manual_seed(seed)
    of_labels = DataInfo("image-multi-label", {"labels": classes}, ImageInfo(8, 8, 1))
    return ImageClassifier(Backbone(Mlp(len(classes)), [0.5], [0.5]), of_labels)
