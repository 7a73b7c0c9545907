"""Gradient policies: by hand, that a policy which sums is no policy, and the projection inside a training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch, Outputs, Step, Target, Term
from compactor.samplers.shuffle import Shuffle
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor.trainer.gradients import Gradients, one_sided_projection
from tests import toys
from tests.compactor.trainer.test_fit import AUGMENT, same, train, weights


def test_projection_by_hand() -> None:
    """h = [-2, 1, 0], g = [1, 0, -1]: h.g = -2, |g|^2 = 2, h + g = [-1, 1, -1]; the parts lie apart."""
    main = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0])]
    other = [torch.tensor([-2.0, 1.0]), torch.tensor([0.0])]
    total = one_sided_projection([main, other])
    torch.testing.assert_close(torch.cat(total), torch.tensor([-1.0 + 1, 1.0 + 0, -1.0 - 1]))


def test_what_does_not_work_against_the_first_is_left_alone() -> None:
    total = one_sided_projection([[torch.tensor([1.0, 0.0])], [torch.tensor([3.0, 4.0])]])
    torch.testing.assert_close(total[0], torch.tensor([4.0, 4.0]))
    nothing = one_sided_projection([[torch.zeros(2)], [torch.tensor([3.0, 4.0])]])
    torch.testing.assert_close(nothing[0], torch.tensor([3.0, 4.0]))


def add(gradients: list[Gradients]) -> Gradients:
    return [torch.stack(one).sum(0) for one in zip(*gradients, strict=True)]


class Against(HardCrossEntropy):
    """A loss that pulls the student away from its labels."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        found = super().__call__(student, teacher, target, batch, step)["hard_ce"]
        return {"against": Term(-found.loss, found.valid)}


@pytest.mark.parametrize("policy", [None, add])
def test_a_policy_that_sums_is_as_none(tmp_path: Path, policy: object) -> None:
    student, plain = toys.classifier(dropout=0.2), toys.classifier(dropout=0.2)
    objectives = [(HardCrossEntropy(), 1.0), (HardCrossEntropy(0.3), 0.5)]
    train(
        tmp_path / "one",
        student=student,
        stage=toys.stage(),
        preset=Preset(objectives, TargetPolicy(), Shuffle(), gradients=policy),  # type: ignore[arg-type]
    )
    train(
        tmp_path / "two",
        student=plain,
        stage=toys.stage(),
        preset=Preset(objectives, TargetPolicy(), Shuffle()),
    )
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(student)[name], atol=1e-5, rtol=1e-5)


def test_what_works_against_the_main_loss_changes_nothing_under_projection(tmp_path: Path) -> None:
    """-g is all against g, so the student learns as if the second loss were not there."""
    both, alone = toys.classifier(), toys.classifier()
    hard = (HardCrossEntropy(), 1.0)
    train(
        tmp_path / "both",
        student=both,
        stage=toys.stage(),
        preset=Preset([hard, (Against(), 0.7)], TargetPolicy(), Shuffle(), gradients=one_sided_projection),
    )
    train(
        tmp_path / "alone",
        student=alone,
        stage=toys.stage(),
        preset=Preset([hard], TargetPolicy(), Shuffle()),
    )
    for name, value in weights(alone).items():
        torch.testing.assert_close(value, weights(both)[name], atol=1e-5, rtol=1e-4)


class Chooses(TargetPolicy):
    """Counts what it was shown before training."""

    seen = 0

    def choose(self, teachers: object, select: object) -> None:
        self.seen = sum(batch.size for batch in select()) + sum(batch.size for batch in select())  # type: ignore[operator]

    def note(self) -> str:
        return f"{self.seen} were seen"


def test_a_target_policy_may_choose_on_select_and_a_preset_may_finish(tmp_path: Path) -> None:
    from compactor.data.image_loader import ImageLoader, eval_batches
    from compactor.trainer.fit import fit

    target = Chooses()

    def finish(student: torch.nn.Module) -> str:
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.zero_()
        return "emptied"

    student = toys.classifier()
    result = fit(
        student,
        Preset([(HardCrossEntropy(), 1.0)], target, Shuffle(), finish=finish),
        lambda rank, world: ImageLoader(
            toys.split(26), batch_size=8, augment=AUGMENT, seed=3, rank=rank, world=world
        ),
        training=toys.stage(),
        name="toy",
        seed=3,
        folder=tmp_path,
        select=lambda: eval_batches(toys.split(9, seed=1), 4),
    )
    assert (target.seen, result.finished) == (18, "emptied")
    assert not any(bool(one.any()) for one in student.parameters())


def test_the_sum_stays_bit_for_bit_what_it_was(tmp_path: Path) -> None:
    """Two trainings of the same seed, one with a second loss of weight 0."""
    one, two = toys.classifier(), toys.classifier()
    train(tmp_path / "one", student=one, stage=toys.stage())
    zero: list[tuple[HardCrossEntropy, float]] = [(HardCrossEntropy(), 1.0), (HardCrossEntropy(0.5), 0.0)]
    train(
        tmp_path / "two", student=two, stage=toys.stage(), preset=Preset([*zero], TargetPolicy(), Shuffle())
    )
    assert same(weights(one), weights(two))


def test_gradients_are_products_over_all_parameters() -> None:
    """The projection is one for the whole net and not one for each layer: here they would differ."""
    main: list[Tensor] = [torch.tensor([1.0]), torch.tensor([1.0])]
    other: list[Tensor] = [torch.tensor([-1.0]), torch.tensor([2.0])]
    torch.testing.assert_close(
        torch.cat(one_sided_projection([main, other])), torch.tensor([0.0, 3.0])
    )  # their product is 1, so nothing is taken away
