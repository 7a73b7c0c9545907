"""Scoring: the store says what the teachers say, features lie beside it, and a stop loses a shard at most."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.picked import Picked
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.label_store.header import STORE_FILE, Header, Payload
from compactor.label_store.store import open_store
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.pool.scores import LOG_PROBABILITIES, Embedder, make_scores
from compactor.progress import SilentReporter
from compactor.tasks.image_classification import TASK
from compactor.teachers import Teachers
from compactor_runtimes.errors import InterruptedRun
from tests import toys
from tests.compactor import label_toys


@pytest.fixture
def split() -> Split:
    """Thirteen candidates in two sources, whose numbers are not their places."""
    whole = toys.split(32).inputs
    joined = Picked([whole[:20], whole[20:]])
    return Split("train", joined, {}, np.array([*range(1, 25, 2), 30]), "two sources")  # type: ignore[arg-type]


def header(split: Split) -> Header:
    return label_toys.header(
        {"train": split}, payload=Payload(kind="top-k", k=3), augment=AugmentSpec(), views=1
    )


def embedder(*models: nn.Module) -> Embedder:
    return Embedder(Teachers(models or [label_toys.teacher()]), TASK, batch_size=3, precision="fp32")


def score(folder: Path, split: Split, asked: Embedder | None = None, **options: object) -> Header | None:
    return make_scores(
        folder,
        header(split),
        split,
        asked or embedder(),
        reporter=SilentReporter(),
        **options,  # type: ignore[arg-type]
    )


def features(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("features-*.npy"))])


def test_labels_and_features_are_those_of_one_forward(split: Split, tmp_path: Path) -> None:
    """Whole, unflipped, in the order of the candidates; the features are what goes into the last layer."""
    teacher = label_toys.teacher()
    score(tmp_path, split, embedder(teacher))
    store = open_store(tmp_path).train
    pixels = torch.from_numpy(split.inputs[split.rows]).float().permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        probabilities = teacher(pixel_values=pixels)["label"].softmax(-1)
        inner = teacher.backbone.body((pixels - 0.5) / 0.5)
    records = store.records(split.rows, np.zeros(13, dtype=np.int64))
    assert records["label.ids"].tolist() == probabilities.topk(3).indices.tolist()
    np.testing.assert_allclose(records["label.p"][:, 1:], probabilities.topk(3).values[:, 1:], rtol=1e-3)
    assert records["box"].tolist() == [[0, 0, 8, 8]] * 13
    assert not records["flip"].any()
    found = features(tmp_path)
    assert (found.dtype, found.shape) == (np.float16, (13, 16))
    np.testing.assert_allclose(found, inner, rtol=1e-3, atol=1e-3)


def test_references_get_the_same_features_as_candidates(split: Split) -> None:
    asked = embedder()
    found = asked.of_images(split.inputs[split.rows])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, asked.features(split), atol=2e-3)


class Doubled(nn.Module):
    """Logits that are no linear layer's as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = toys.Mlp(num_classes=10)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2


def test_without_a_penultimate_feature_log_probabilities_take_its_place(split: Split, tmp_path: Path) -> None:
    torch.manual_seed(3)
    teacher = ImageClassifier(Backbone(Doubled(), [0.5], [0.5]), toys.info(classes=label_toys.CLASSES))
    asked = embedder(teacher)
    assert (asked.kind, asked.width) == (LOG_PROBABILITIES, 10)
    score(tmp_path, split, asked)
    np.testing.assert_allclose(np.exp(features(tmp_path).astype(np.float64)).sum(1), 1, atol=5e-3)


def test_several_teachers_score_together_and_the_first_gives_the_features(
    split: Split, tmp_path: Path
) -> None:
    score(tmp_path / "one", split, embedder(label_toys.teacher(1)))
    score(tmp_path / "two", split, embedder(label_toys.teacher(1), label_toys.teacher(2)))
    np.testing.assert_array_equal(features(tmp_path / "one"), features(tmp_path / "two"))
    one, two = (open_store(tmp_path / name).train.column("label.p") for name in ("one", "two"))
    assert not np.array_equal(one, two)


def test_a_stopped_pass_goes_on_and_ends_with_the_same_bytes(split: Split, tmp_path: Path) -> None:
    score(tmp_path / "whole", split)
    folder = tmp_path / "stopped"
    score(folder, split, share=(1, 2))
    assert not (folder / STORE_FILE).exists()
    with pytest.raises(InterruptedRun, match=r"stopped by --max-hours after 3 of 5 images"):
        score(folder, split, deadline_s=time.monotonic())
    assert not list(folder.glob(".features-*"))
    assert score(folder, split) is not None
    assert label_toys.contents(folder) == label_toys.contents(tmp_path / "whole")


def test_features_that_were_deleted_are_made_again(split: Split, tmp_path: Path) -> None:
    score(tmp_path, split)
    before = label_toys.contents(tmp_path)
    (tmp_path / "features-00001.npy").unlink()
    score(tmp_path, split)
    assert label_toys.contents(tmp_path) == before


def test_infinite_features_are_cut(split: Split) -> None:
    teacher = label_toys.teacher()
    with torch.no_grad():
        next(teacher.backbone.parameters()).mul_(1e9)
    found = embedder(teacher).features(replace(split, rows=split.rows[:4]))
    assert np.isfinite(found).all()
