"""FKD's order and count of crops: invariants 15 and 16, by hand, and ImageNet's numbers by arithmetic."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compactor.cache.journal import Journal
from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Step
from compactor.samplers.crop_major import CropMajor
from compactor.trainer import stepper
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor.trainer.fit import _Run, fit
from compactor.trainer.schedule import lr_factor
from tests import toys


def spans(sampler: CropMajor, epochs: int) -> list[int]:
    """Epochs that each pass counts for."""
    found = []
    while sum(found) < epochs:
        found.append(sampler.span(sum(found)))
    return found


class _FixedOrder:
    """Images in stored order."""

    def permutation(self, n: int) -> np.ndarray:
        return np.arange(n)


def test_first_views_of_all_images_then_second_views() -> None:
    """Invariant 15: row r is view r // I of image r % I; 7 images, n = 3, batch 9: I = 3, 3 and 1."""
    sampler = CropMajor(3, 9, 100)
    order = sampler.positions(0, 7, _FixedOrder())  # type: ignore[arg-type]
    assert order.tolist() == [0, 1, 2] * 3 + [3, 4, 5] * 3 + [6] * 3
    assert len(order) == sampler.samples(7, 0) == 21


def test_every_image_comes_n_times_in_a_fresh_order() -> None:
    sampler = CropMajor(2, 8, 100)
    orders = [sampler.positions(epoch, 10, np.random.default_rng(epoch)) for epoch in (0, 2)]
    for order in orders:
        assert np.bincount(order).tolist() == [2] * 10
        for start in range(0, 20, 8):
            first, second = np.array_split(order[start : start + 8], 2)
            assert first.tolist() == second.tolist()
    assert orders[0].tolist() != orders[1].tolist()


def test_passes_of_300_epochs_with_4_views() -> None:
    """Invariant 16: 74 passes of 4, then 4 of 1."""
    found = spans(CropMajor(4, 1024, 300), 300)
    assert found == [4] * 74 + [1] * 4
    assert sum(found) == 300


@pytest.mark.parametrize(
    ("views", "epochs", "expected"),
    [
        (4, 10, [4] + [1] * 6),  # 4, then 4 at the end, and 2 fill up
        (4, 8, [4, 1, 1, 1, 1]),
        (4, 7, [1] * 7),
        (4, 3, [1] * 3),
        (1, 3, [1] * 3),
        (2, 5, [2, 1, 1, 1]),
        (5, 300, [5] * 59 + [1] * 5),
    ],
)
def test_epochs_that_are_no_multiple_are_filled_up(views: int, epochs: int, expected: list[int]) -> None:
    assert spans(CropMajor(views, 20, epochs), epochs) == expected


def test_one_view_is_a_plain_shuffle() -> None:
    sampler = CropMajor(1, 4, 3)
    order = sampler.positions(0, 10, np.random.default_rng(0))
    assert order.tolist() == np.random.default_rng(0).permutation(10).tolist()


class _ImageNet(ImageLoader):
    """Only its length and its batch size count."""

    def __len__(self) -> int:
        return 1_281_167


def run(loader: ImageLoader, sampler: CropMajor, **changes: object) -> _Run:
    """Where training of a stage would stand before its first step."""
    stage = toys.stage(method="fkd", **changes)
    alone = SimpleNamespace(training=stage, name=stage.id, preset=SimpleNamespace(sampler=sampler))
    return _Run(alone, loader, 0, Path("none"), Journal(None))  # type: ignore[arg-type]


def test_imagenet_takes_the_steps_of_the_paper() -> None:
    """300 epochs, n = 4, batch 1024: 74 * 5005 + 4 * 1252 = 375,378 steps in 78 passes over the images."""
    loader = _ImageNet(toys.split(4), batch_size=1024, augment=AugmentSpec(), seed=0)
    sampler = CropMajor(4, 1024, 300)
    steps = [loader.steps(sampler.samples(1_281_167, epoch)) for epoch in (0, 292, 296, 299)]
    assert steps == [math.ceil(4 * 1_281_167 / 1024)] * 2 + [math.ceil(1_281_167 / 1024)] * 2
    assert steps == [5005, 5005, 1252, 1252]
    assert len(spans(sampler, 300)) == 78
    found = run(loader, sampler, epochs=300, batch_size=1024, warmup_epochs=5)
    assert (found.steps, found.epochs) == (375_378, 300)
    assert found.warmup == 5 * 5005 / 4


def test_steps_in_the_place_of_epochs_are_passes_of_n_views() -> None:
    """10 images, n = 2, batch 4: 5 steps a pass, so 12 steps are 4.8 epochs."""
    loader = ImageLoader(toys.split(10), batch_size=4, augment=AugmentSpec(), seed=0)
    sampler = CropMajor(2, 4, None)
    assert [sampler.span(epoch) for epoch in (0, 2, 1000)] == [2, 2, 2]
    found = run(loader, sampler, epochs=None, steps=12, batch_size=4)
    assert (found.steps, found.epochs) == (12, pytest.approx(4.8))


def train(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object
) -> tuple[list[Step], list[float], list[dict]]:
    """Train on 6 images with n = 2 and batch 4; return where each step stood, its rate, and the history."""
    at: list[Step] = []
    rates: list[float] = []

    def factor(step: Step, **options: object) -> float:
        at.append(step)
        rates.append(lr_factor(step, **options))  # type: ignore[arg-type]
        return rates[-1]

    monkeypatch.setattr(stepper, "lr_factor", factor)
    stage = toys.stage(batch_size=4, **changes)
    result = fit(
        toys.classifier(),
        Preset([(HardCrossEntropy(), 1.0)], TargetPolicy(), CropMajor(2, 4, stage.epochs)),
        lambda rank, world: ImageLoader(toys.split(6), batch_size=4, augment=AugmentSpec(), seed=0),
        training=stage,
        name=stage.id,
        seed=0,
        folder=folder,
    )
    return at, rates, result.history


def test_the_rate_follows_the_epoch_at_which_a_pass_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 epochs of 6 images: a pass of 12 views (3 steps), then 3 of 6 (2 steps); rate of epoch e of 5."""
    at, rates, history = train(tmp_path, monkeypatch, epochs=5, schedule="cosine-epochs")
    assert [step.epoch for step in at] == [0] * 3 + [2, 2, 3, 3, 4, 4]
    expected = [0.5 * (1 + math.cos(math.pi * step.epoch / 5)) for step in at]
    assert rates == pytest.approx(expected)
    assert rates[:3] == [1.0] * 3
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert [record["step"] for record in history] == [3, 5, 7, 9]
    assert {(step.steps, step.epochs) for step in at} == {(9, 5)}


def test_the_plain_cosine_counts_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rates, _ = train(tmp_path, monkeypatch, epochs=5, schedule="cosine")
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 9)) for step in range(9)])


def test_steps_may_end_within_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 steps of passes of 3: the rate never rises again, as no epoch is beyond the last."""
    at, rates, history = train(tmp_path, monkeypatch, epochs=None, steps=7, schedule="cosine-epochs")
    assert [step.epoch for step in at] == [0] * 3 + [2] * 3 + [4]
    assert at[0].epochs == pytest.approx(7 / 1.5)
    assert rates == sorted(rates, reverse=True)
    assert len(history) == 3
