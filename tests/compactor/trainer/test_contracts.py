"""What targets, samplers and objectives may do, each through fit(): labels, weights, memory, a first look."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.objectives import LogitObjective
from compactor.objectives.divergences import Kl
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch, Hard, Needs, Outputs, Soft, Step, Target, Term
from compactor.samplers.shuffle import Shuffle
from compactor.targets.live_teacher import LiveTeacher
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset, Sampler, TargetPolicy
from compactor.trainer.fit import accelerator_for, fit
from compactor_runtimes.errors import InterruptedRun
from tests import toys
from tests.compactor.trainer.test_fit import StopAt, pixels_of, same, train, weights


class _TargetCrossEntropy(LogitObjective):
    """Cross-entropy to the target's classes instead of the batch's."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        hard = target.heads["label"]
        assert isinstance(hard, Hard)
        loss = F.cross_entropy(student.logits["label"].float(), hard.labels, reduction="none")
        return {"hard_ce": Term(loss)}


class _Pseudo(TargetPolicy):
    """The labels of the batch as hard targets."""

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        return Target({"label": Hard(batch.y["label"])})


def test_hard_targets_train_as_labels_do(tmp_path: Path) -> None:
    """Bit for bit; a divergence leaves heads alone whose target is hard."""
    labelled, pseudo = toys.classifier(), toys.classifier()
    plain = Preset([(HardCrossEntropy(), 1.0)], TargetPolicy(), Shuffle())
    hard = Preset([(_TargetCrossEntropy(), 1.0), (Kl(), 1.0)], _Pseudo(), Shuffle())
    first = train(tmp_path / "labels", student=labelled, stage=toys.stage(), preset=plain)
    second = train(tmp_path / "target", student=pseudo, stage=toys.stage(), preset=hard)
    assert same(weights(labelled), weights(pseudo))
    assert first.history == second.history


class _Fixed(LogitObjective):
    """Losses that are known: the sample's number."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        return {"fixed": Term(0 * student.logits["label"].sum(-1) + batch.id)}


class _Weighing(TargetPolicy):
    """Even samples count double, odd ones nothing."""

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        return Target(weight=torch.where(batch.id % 2 == 0, 2.0, 0.0))


class _HalfTheLater(Sampler):
    """Samples from 2 on count half."""

    def weights(self, name: str, term: Term, student: Outputs, batch: Batch, step: Step) -> Tensor | None:
        assert name == "fixed"
        return torch.where(batch.id >= 2, 0.5, 1.0)


def test_weights_of_target_and_sampler_multiply(tmp_path: Path) -> None:
    """Samples 0 to 4: (2 * 0 + 0 * 1 + 2 * 2 + 0 * 3 + 2 * 4) / 5 = 12 / 5, and half of it."""
    stage = toys.stage(steps=1, epochs=None, batch_size=5)
    for sampler, expected in ((Sampler(), 12 / 5), (_HalfTheLater(), 6 / 5)):
        preset = Preset([(_Fixed(), 1.0)], _Weighing(), sampler)
        folder = tmp_path / type(sampler).__name__
        result = train(folder, student=toys.classifier(), stage=stage, preset=preset, n=5)
        assert result.history[0]["terms"] == {"fixed": pytest.approx(expected)}


class _PerToken(LogitObjective):
    """Losses of three tokens a sample: 3 b + l."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        losses = 3 * batch.id[:, None] + torch.arange(3)
        return {"fixed": Term(0 * student.logits["label"].sum() + losses)}


def test_a_weight_of_a_sample_is_that_of_all_its_tokens(tmp_path: Path) -> None:
    """As many samples as tokens, so that rows and columns could be confused: 2 * (0+1+2) + 2 * (6+7+8)."""
    preset = Preset([(_PerToken(), 1.0)], _Weighing(), Sampler())
    stage = toys.stage(steps=1, epochs=None, batch_size=3)
    result = train(tmp_path, student=toys.classifier(), stage=stage, preset=preset, n=3)
    assert result.history[0]["terms"] == {"fixed": pytest.approx(48 / 9)}


class _Memory(TargetPolicy):
    """Soft labels of a sample are what the student said of it one epoch ago, and uniform before that."""

    def __init__(self, n: int, stop: int = -1) -> None:
        self.said, self.stop, self.seen = torch.zeros(n, 3), StopAt(stop), 0

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        self.stop.make(batch, teacher, step)
        return Target({"label": Soft(log_p=self.said[batch.id].log_softmax(-1))})

    def observe(self, batch: Batch, student: Outputs) -> None:
        assert not torch.is_grad_enabled()
        self.said[batch.id] = 0.9 * self.said[batch.id] + student.logits["label"].detach()
        self.seen += batch.size

    def state_dict(self) -> dict[str, Any]:
        return {"said": self.said, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.said, self.seen = state["said"], state["seen"]


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_what_a_target_remembers_survives_an_interruption(tmp_path: Path, stop: int) -> None:
    """24 samples in batches of 8, 4 epochs; bit for bit, in the middle and at the end of an epoch."""

    def run(folder: str, policy: _Memory, seed: int = 0) -> nn.Module:
        student = toys.classifier(seed=seed, dropout=0.3)
        preset = Preset([(Kl(), 1.0), (HardCrossEntropy(), 0.5)], policy, Shuffle())
        train(tmp_path / folder, student=student, stage=toys.stage(epochs=4), preset=preset, n=24)
        return student

    whole = _Memory(24)
    trained = run("whole", whole)
    with pytest.raises(InterruptedRun, match=f"stopped at step {stop + 1} of 12"):
        run("parts", _Memory(24, stop))
    resumed = _Memory(24)
    assert same(weights(trained), weights(run("parts", resumed, seed=5)))
    assert torch.equal(whole.said, resumed.said)
    assert whole.seen == resumed.seen == 4 * 24


def test_a_target_sees_what_the_student_said_and_uses_it_from_then_on(tmp_path: Path) -> None:
    """A student that does not move says l each time: seen are l, then 0.9 l + l = 1.9 l.

    In the first epoch the target is uniform: KL = mean over classes of log(1/3) - log q; in the second it is
    the student's own answer: 0.
    """
    student, policy = toys.classifier(), _Memory(3)
    with torch.no_grad():
        said = student(pixels_of(3))["label"]
    stage = toys.stage(epochs=2, batch_size=3, lr=1e-12, momentum=0.0, weight_decay=0.0)
    preset = Preset([(Kl(), 1.0)], policy, Sampler())
    result = train(tmp_path, student=student, stage=stage, preset=preset, augment=AugmentSpec(), n=3)
    torch.testing.assert_close(policy.said, 1.9 * said)
    assert policy.seen == 6
    first, second = ([*epoch["terms"].values()] for epoch in result.history)
    assert first == [pytest.approx(float((-math.log(3) - said.log_softmax(-1)).mean()), abs=1e-6)]
    assert second == [pytest.approx(0, abs=1e-6)]
    assert {*policy.state_dict()} == {"said", "seen"}


@pytest.mark.parametrize("policy", [TargetPolicy(), LiveTeacher(), LiveTeacher(cutmix=True)])
def test_policies_without_a_memory_keep_nothing(policy: TargetPolicy) -> None:
    batch = Batch(x={}, y={}, id=torch.arange(2))
    before = vars(policy).copy()
    policy.observe(batch, Outputs(logits={"label": torch.ones(2, 3)}))
    assert policy.state_dict() == {}
    policy.load_state_dict({})
    assert vars(policy) == before


class _Grouping(Sampler):
    """Ask the teacher about the split, once."""

    def __init__(self) -> None:
        self.calls: list[tuple[Split, Teachers | None]] = []

    def fit(self, split: Split, teachers: Teachers | None) -> None:
        self.calls.append((split, teachers))

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
        assert len(self.calls) == 1
        return super().positions(epoch, n, rng)


class _Moved(Batch):
    """A batch on its way to a device, which it notes."""

    def to(self, device: torch.device) -> Batch:
        moved = super().to(device)
        return replace(
            moved, aux={"moved": torch.tensor([str(device) == str(accelerator_for("fp32").device)])}
        )


class _Statistics(LogitObjective):
    """Batches of the pass over the training samples are where the teachers are."""

    needs = Needs(statistics=True)

    def __init__(self) -> None:
        self.ids: list[int] = []

    def fit(self, teachers: Teachers | None, batches: Iterator[Batch]) -> None:
        assert teachers is not None
        for batch in batches:
            assert batch.aux["moved"].all()
            assert teachers(batch).logits["label"].shape == (batch.size, 3)
            self.ids += batch.id.tolist()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        assert len(self.ids) == 24
        return {"none": Term(0 * student.logits["label"].sum(-1))}


def test_statistics_and_samplers_see_the_data_once_before_training(tmp_path: Path) -> None:
    """A statistics pass gets its batches where the teachers are, a sampler the split and the teachers."""
    data, objective, sampler = toys.split(24), _Statistics(), _Grouping()
    teachers = Teachers([toys.classifier(seed=8)])
    fit(
        toys.classifier(),
        Preset([(objective, 1.0)], TargetPolicy(), sampler),
        lambda rank, world: ImageLoader(data, batch_size=8, augment=AugmentSpec(), seed=0),
        training=toys.stage(epochs=2),
        name="toy",
        seed=0,
        folder=tmp_path,
        split=data,
        teachers=teachers,
        each_once=lambda: (_Moved(**vars(batch)) for batch in eval_batches(data, 7)),
    )
    assert objective.ids == list(range(24))
    assert sampler.calls == [(data, teachers)]
