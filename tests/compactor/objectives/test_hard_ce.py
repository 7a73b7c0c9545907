"""Balanced class weights: n / (C * n_c), by hand, and through training and resuming."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.methods import method_named, parse_options
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch, Outputs, Step, Target
from compactor.trainer.contracts import TargetPolicy
from compactor.trainer.fit import fit
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys

AT = Step(0, 1, 0, 1)
OPTIONS = {"class_weights": "balanced"}
PLAIN = AugmentSpec()


def labelled(*labels: int) -> Batch:
    return Batch({}, {"label": torch.tensor(labels)}, torch.arange(len(labels)))


def fitted(*labels: int, **options: float) -> HardCrossEntropy:
    objective = HardCrossEntropy(**options, class_weights="balanced")
    assert objective.needs.statistics
    half = len(labels) // 2
    objective.fit(None, iter([labelled(*labels[:half]), labelled(*labels[half:])]))
    return objective


def test_weights_by_hand() -> None:
    """6 labelled: 4 of class 0, none of 1, 2 of class 2; 2 classes occur: 6/(2*4) and 6/(2*2)."""
    objective = fitted(2, -100, 0, 0, 2, 0, 0)
    assert objective.weights["label"].tolist() == [0.75, 0.0, 1.5]
    logits = torch.tensor([[1.0, 2.0, 0.5, 3.0]] * 3)
    term = objective(Outputs({"label": logits}), None, Target(), labelled(0, 2, -100), AT)["hard_ce"]
    plain = F.cross_entropy(logits[:2], torch.tensor([0, 2]), reduction="none")
    torch.testing.assert_close(term.loss[:2], plain * torch.tensor([0.75, 1.5]))
    assert term.valid is not None
    assert term.valid.tolist() == [True, True, False]
    assert not HardCrossEntropy().needs.statistics


def test_weights_are_1_on_average_and_1_each_for_equal_classes() -> None:
    assert fitted(0, 1, 2, 0, 1, 2).weights["label"].tolist() == [1.0, 1.0, 1.0]
    labels = torch.tensor([0] * 7 + [1] * 2 + [3])
    weights = fitted(*labels.tolist()).weights["label"]
    assert weights[labels].mean().item() == pytest.approx(1.0)


def test_label_smoothing_is_weighted_by_the_samples_own_class() -> None:
    smooth = fitted(0, 0, 0, 1, label_smoothing=0.2)  # weights 4/(2*3) and 4/(2*1)
    logits = torch.tensor([[0.3, -1.0]])
    term = smooth(Outputs({"label": logits}), None, Target(), labelled(1), AT)["hard_ce"]
    expected = 2.0 * F.cross_entropy(logits, torch.tensor([1]), label_smoothing=0.2)
    assert term.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_tokens_are_counted_one_by_one() -> None:
    objective = HardCrossEntropy(class_weights="balanced")
    labels = torch.tensor([[0, 0, -100], [0, 1, -100]])
    objective.fit(None, iter([Batch({}, {"slot": labels}, torch.arange(2))]))
    assert objective.weights["slot"].tolist() == pytest.approx([4 / 6, 2.0])


def test_nothing_to_count_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no training sample has a 'label'; set it to none"):
        fitted(-100, -100)


def test_methods_take_the_option() -> None:
    for name in ("supervised", "kd"):
        method = method_named(name, "here")
        needs = [
            [
                one.needs.statistics
                for one, _ in method.build(parse_options(method, options, "here")).objectives
            ]
            for options in ({}, OPTIONS)
        ]
        assert [any(each) for each in needs] == [False, True]
    method = method_named("kd", "here")
    with pytest.raises(UsageError, match=r"class_weights weighs the cross-entropy, which soft_weight 1 leav"):
        parse_options(method, OPTIONS | {"soft_weight": 1}, "here")


def skewed() -> Split:
    """Four times as many of class 0 as of 1 and 2."""
    labels = np.array([0, 0, 0, 0, 1, 2] * 4)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    return Split("train", images, {"label": labels}, np.arange(24), "skewed")


class _StopAt(TargetPolicy):
    """Send this process a Ctrl-C in the middle of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        if step.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return Target()


def train(folder: Path, *, stop: int = -1, **settings: object) -> list[torch.Tensor]:
    data, method, student = skewed(), method_named("supervised", "here"), toys.classifier()
    preset = replace(method.build(parse_options(method, OPTIONS, "here")), target=_StopAt(stop))
    folder.mkdir(exist_ok=True)
    fit(
        student,
        preset,
        lambda rank, world: ImageLoader(data, batch_size=settings["batch_size"], augment=PLAIN, seed=0),
        training=toys.stage(**settings),
        name="toy",
        seed=0,
        folder=folder,
        each_once=lambda: eval_batches(data, 7),
    )
    return list(student.parameters())


def test_one_step_is_sgd_on_the_mean_of_weighted_losses(tmp_path: Path) -> None:
    """24 samples, 16 of class 0, 4 of each other: 24/(3*16) = 1/2 and 24/(3*4) = 2."""
    trained = train(
        tmp_path, steps=1, epochs=None, batch_size=24, lr=0.1, weight_decay=0.0, schedule="constant"
    )
    data, by_hand = skewed(), toys.classifier()
    pixels = torch.from_numpy(data.inputs.astype(np.float32) / 255).permute(0, 3, 1, 2)
    labels = torch.from_numpy(data.labels["label"])
    losses = F.cross_entropy(by_hand(pixels)["label"], labels, reduction="none")
    (torch.tensor([0.5, 2.0, 2.0])[labels] * losses).mean().backward()
    for found, expected in zip(trained, by_hand.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(found, expected - 0.1 * expected.grad)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=2, batch_size=8)
    with pytest.raises(InterruptedRun):
        train(tmp_path / "parts", epochs=2, batch_size=8, stop=3)
    resumed = train(tmp_path / "parts", epochs=2, batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
