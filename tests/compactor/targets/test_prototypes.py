"""WAD's pseudo-labels: the golden case, prototypes by hand, and what a training makes of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compactor.data.image_loader import eval_batches
from compactor.methods import method_named, parse_options
from compactor.objectives.pseudo_ce import PseudoCrossEntropy
from compactor.records import Batch, Hard, Outputs, Step, Target
from compactor.targets.prototypes import Prototypes, cosines, pseudo_labels
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys

AT = Step(0, 1, 0, 1)


def test_the_lead_of_the_nearest_prototype() -> None:
    """Golden: cosines .7, .5, -.1 -> class 0, weight .2."""
    label, weight = pseudo_labels(torch.tensor([[0.7, 0.5, -0.1], [0.1, 0.4, 0.4]]))
    assert label[0] == 0
    assert weight.tolist() == pytest.approx([0.2, 0.0])


def test_cosines_do_not_see_lengths() -> None:
    found = cosines(torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 0.1]]))
    assert found.flatten().tolist() == pytest.approx([1, 0, 0.5**0.5, 0.5**0.5])


class _Vectors(Teachers):
    """A teacher whose feature of a batch is given."""

    def __init__(self, vectors: dict[int, list[float]]) -> None:
        super().__init__([toys.classifier()])
        self.vectors = vectors

    def __call__(self, batch: Batch, features: Any = None) -> Outputs:
        seen = torch.tensor([self.vectors[one] for one in batch.id.tolist()])
        return Outputs({}, features=dict.fromkeys(features, seen))


def batches(labels: list[int]) -> list[Batch]:
    """One sample each; ids count from 10."""
    return [Batch({}, {"label": torch.tensor([y])}, torch.tensor([10 + at])) for at, y in enumerate(labels)]


VECTORS = {10: [2.0, 0.0], 11: [0.0, 0.0], 12: [0.0, 3.0], 13: [0.8, 0.6], 14: [1.0, 1.0]}


def fitted(labels: list[int], vectors: dict[int, Any] | None = None) -> Prototypes:
    policy = Prototypes("penultimate")
    policy.fit(_Vectors(vectors or VECTORS), iter(batches(labels)))
    return policy


def test_prototypes_by_hand() -> None:
    """Classes 0 (mean (1, 0)) and 2 (0, 3); .8 - .6 leads for the fourth sample, the fifth lies between."""
    policy = fitted([0, 0, 2, -100, -100])
    batch = Batch({}, {"label": torch.tensor([0, -100, -100])}, torch.tensor([10, 13, 14]))
    target = policy.make(batch, None, AT)
    hard = target.heads["label"]
    assert isinstance(hard, Hard)
    assert hard.labels[:2].tolist() == [-100, 0]
    assert target.weight is not None
    assert target.weight.tolist() == pytest.approx([1, 0.2, 0], abs=1e-6)
    assert policy.summary() == {"pseudo_labels": 2, "mean_weight": pytest.approx(0.1)}
    assert policy.note() == "2 samples labelled by prototypes, mean weight 0.100"
    turned = fitted([2, 2, 0, -100, -100]).make(batch, None, AT).heads["label"]
    assert isinstance(turned, Hard)
    assert turned.labels[1] == 2  # the class, and not its place among those that occur


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(UsageError, match="1 classes have labelled samples, at least 2"):
        fitted([1, 1, -100, -100, -100])
    with pytest.raises(UsageError, match=r"'penultimate' of the teacher has shape \[1, 2\] a sample"):
        fitted([0, 1, 1, -100, -100], {key: [value] for key, value in VECTORS.items()})
    with pytest.raises(UsageError, match="'hidden', which the teacher's Mlp does not have"):
        Prototypes("hidden").fit(_Vectors(VECTORS), iter(batches([0, 1])))


def test_cross_entropy_to_the_target_alone() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    target = Target({"label": Hard(torch.tensor([1, -100]))})
    empty = Batch({}, {"label": torch.tensor([-100, 0])}, torch.arange(2))
    term = PseudoCrossEntropy()(Outputs({"label": logits}), None, target, empty, AT)["pseudo_ce"]
    assert term.loss.tolist() == pytest.approx([0.464367, 0.0], abs=1e-5)
    assert term.valid is not None
    assert term.valid.tolist() == [True, False]
    term.loss.sum().backward()
    p = torch.softmax(logits.detach()[0], 0)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx((p - torch.tensor([0.0, 1.0, 0.0])).tolist(), abs=1e-6)
    assert logits.grad[1].tolist() == [0, 0, 0]


def test_teachers_are_asked_before_training_alone(tmp_path: Path) -> None:
    """Once about each of 24 samples, half of which have no label; then no more."""
    from compactor.data.image_loader import ImageLoader
    from compactor.data.spec import AugmentSpec
    from compactor.trainer.fit import fit

    split = toys.split(24)
    split.labels["label"][::2] = -100
    asked: list[int] = []

    class Counting(Teachers):
        def __call__(self, batch: Batch, features: Any = None) -> Outputs:
            asked.extend(batch.id.tolist())
            return super().__call__(batch, features)

    method = method_named("wad", "here")
    assert method.build is not None
    student: nn.Module = toys.classifier()
    result = fit(
        student,
        method.build(parse_options(method, {}, "here")),
        lambda rank, world: ImageLoader(split, batch_size=8, augment=AugmentSpec(), seed=0),
        training=toys.stage(method="wad"),
        name="toy",
        seed=0,
        folder=tmp_path,
        split=split,
        teachers=Counting([toys.classifier(seed=8)]),
        each_once=lambda: eval_batches(split, 8),
    )
    assert sorted(asked) == list(range(24))
    assert set(result.history[0]["terms"]) == {"hard_ce", "pseudo_ce"}
    assert result.history[-1]["terms"]["pseudo_ce"] > 0
