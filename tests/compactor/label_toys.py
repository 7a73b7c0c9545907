"""Small label stores: a teacher of ten classes, what a store of its labels is, and one that is made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from compactor.data.spec import AugmentSpec, SplitName
from compactor.data.splits import Split
from compactor.label_store.header import Head, Header, Part, Payload, Transform
from compactor.label_store.make import make_labels
from compactor.label_store.store import LabelStore, open_store
from compactor.label_store.write import ids_file
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.progress import Reporter, SilentReporter
from compactor.tasks.image_classification import TASK
from compactor.teachers import Teachers
from tests import toys

CLASSES = [f"class {number}" for number in range(10)]
PAD = AugmentSpec(crop="pad", padding=2, flip=True)
RESIZED = AugmentSpec(crop="random-resized", scale=(0.2, 0.9), flip=True)
FITTING = AugmentSpec(crop="random-resized", aspect="uniform", scale=(0.2, 0.9), flip=True)
VIEWS = 6
SHARD_ROWS = 5
BATCH = 7


def teacher(seed: int = 8, *, sharpness: float = 6.0) -> ImageClassifier:
    """Random, and as sure of itself as `sharpness` says."""
    torch.manual_seed(seed)
    model = ImageClassifier(
        Backbone(toys.Mlp(num_classes=len(CLASSES)), [0.5], [0.5]), toys.info(classes=CLASSES)
    )
    with torch.no_grad():
        for parameter in model.backbone.head.parameters():  # type: ignore[union-attr]
            parameter.mul_(sharpness)
    return model


class Watched(nn.Module):
    """Keep every tensor that a model is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        self.seen.append(pixel_values.clone())
        return self.model(pixel_values)


def splits(n: int = 24) -> dict[SplitName, Split]:
    """Every second row trains, the first odd ones are select: ids are not positions."""
    whole = toys.split(2 * n)
    train, select = np.arange(0, 2 * n, 2), np.arange(1, 13, 2)
    return {"train": replace(whole, rows=train), "select": replace(whole, name="select", rows=select)}


def header(
    data: dict[SplitName, Split] | None = None,
    *,
    payload: Payload | None = None,
    augment: AugmentSpec = PAD,
    views: int = VIEWS,
    **changes: Any,
) -> Header:
    parts = []
    for name, split in (data or splits()).items():
        file, _, digest = ids_file(name, split.rows)
        parts.append(
            Part(
                split=name,
                rows=len(split),
                views=views if name == "train" else 1,
                source=split.digest,
                ids=file,
                ids_sha256=digest,
                shard_rows=SHARD_ROWS,
            )
        )
    whole = Header(
        payload=payload or Payload(kind="top-k", k=5),
        heads=[Head(name="label", num_classes=len(CLASSES))],
        boxes="pixels",
        transform=Transform(augment=augment, image=(8, 8, 1)),
        teachers=[{"model": "toy", "weights": "8"}],
        classes={"label": CLASSES},
        data="toys",
        seed=0,
        precision="fp32",
        versions={"torch": "any"},
        source_digest="toy",
        parts=parts,
    )
    return msgspec.structs.replace(whole, **changes)


def make(
    folder: Path,
    wanted: Header | None = None,
    *,
    teachers: list[nn.Module] | None = None,
    reporter: Reporter | None = None,
    data: dict[SplitName, Split] | None = None,
    **options: Any,
) -> Header | None:
    data = data or splits()
    return make_labels(
        folder,
        wanted or header(data),
        data,
        TASK,
        Teachers(teachers or [teacher()]),
        batch_size=BATCH,
        reporter=reporter or SilentReporter(),
        **options,
    )


def store(folder: Path, wanted: Header | None = None, **options: Any) -> LabelStore:
    make(folder, wanted, **options)
    return open_store(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a store but the lock, which is empty."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
