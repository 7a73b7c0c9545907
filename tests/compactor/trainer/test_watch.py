"""Whoever watches a training sees each step with its loss, may end it, and changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.samplers.shuffle import Shuffle
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor.trainer.fit import FitResult, Watch, fit
from tests import toys


def train(folder: Path, watch: Watch | None) -> FitResult:
    folder.mkdir()
    stage = toys.stage(epochs=2, batch_size=8, lr=0.1)
    return fit(
        toys.classifier(),
        Preset([(HardCrossEntropy(0.0), 1.0)], TargetPolicy(), Shuffle()),
        lambda rank, world: ImageLoader(
            toys.split(26), batch_size=8, augment=AugmentSpec(), seed=3, rank=rank, world=world
        ),
        training=stage,
        name=stage.id,
        seed=3,
        folder=folder,
        watch=watch,
    )


def test_each_step_is_shown_with_its_loss(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    watched = train(tmp_path / "a", lambda step, student, loss: seen.append((step, float(loss))))
    assert [step for step, _ in seen] == list(range(1, watched.steps + 1))
    per_epoch = watched.steps // 2
    shown = [np.mean([loss for _, loss in seen[:per_epoch]]), np.mean([loss for _, loss in seen[per_epoch:]])]
    assert shown == pytest.approx([sum(one["terms"].values()) for one in watched.history], rel=1e-5)


def test_watching_changes_nothing(tmp_path: Path) -> None:
    def evaluate(step: int, student: nn.Module, loss: Tensor) -> None:
        assert not loss.requires_grad

    one, other = train(tmp_path / "a", None), train(tmp_path / "b", evaluate)
    for a, b in zip(one.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_a_watcher_raises_ends_the_training(tmp_path: Path) -> None:
    def stop(step: int, student: nn.Module, loss: Tensor) -> None:
        if step == 3:
            raise StopIteration(step)

    with pytest.raises(StopIteration, match="3"):
        train(tmp_path / "a", stop)
