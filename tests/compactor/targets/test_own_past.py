"""The memory of what a student said: the share it has, what it holds when, and what a checkpoint keeps."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from compactor.objectives.refined_labels import RefinedCrossEntropy
from compactor.records import IGNORE, Batch, Outputs, Step
from compactor.targets.own_past import OwnPast
from compactor.trainer.checkpoint import load_checkpoint, save_checkpoint

IDS, LABELS = [40, 7, 12], [1, 0, IGNORE]  # as a loader yields them, in no order


def batch(*numbers: int) -> Batch:
    labels = dict(zip(IDS, LABELS, strict=True))
    return Batch({}, {"label": torch.tensor([labels[one] for one in numbers])}, torch.tensor(numbers))


def policy() -> OwnPast:
    made = OwnPast(0.8)
    made.fit(None, iter([batch(40, 7), batch(12)]))
    return made


def says(*probabilities: list[float]) -> Outputs:
    return Outputs({"label": torch.tensor(probabilities).log()})


def target(made: OwnPast, rows: Batch, epoch: int, epochs: float = 300) -> Tensor:
    soft = made.make(rows, None, Step(0, 1, epoch, epochs)).heads["label"]
    return soft.dense_log_p(3).exp()  # type: ignore[union-attr]


def test_the_share_grows_linearly() -> None:
    """E = 300, alpha .8: .8 / 300, .4, .8; of 2.5 epochs the third has all, of half an epoch the first."""
    made = OwnPast(0.8)
    shares = [made.share(Step(0, 1, epoch, 300)) for epoch in (0, 149, 299)]
    assert shares == pytest.approx([0.8 / 300, 0.4, 0.8])
    assert made.share(Step(0, 1, 2, 2.5)) == made.share(Step(0, 1, 0, 0.5)) == 0.8


def test_golden() -> None:
    """y = 1, P = [.7, .2, .1], e = 149 of 300: [.28, .68, .04]; with z = [1, 2, .5] a loss of .804369."""
    made = policy()
    made.observe(batch(40), says([0.7, 0.2, 0.1]))
    found = target(made, batch(40), 149)
    assert found[0].tolist() == pytest.approx([0.28, 0.68, 0.04], abs=1e-4)  # float16
    step = Step(0, 1, 149, 300)
    loss = RefinedCrossEntropy()(
        Outputs({"label": torch.tensor([[1.0, 2.0, 0.5]])}),
        None,
        made.make(batch(40), None, step),
        batch(40),
        step,
    )
    assert loss["refined_ce"].loss.item() == pytest.approx(0.804369, abs=2e-4)


def test_in_the_first_epoch_and_before_a_first_visit_it_is_the_label() -> None:
    made = policy()
    assert target(made, batch(7, 40), 0).tolist() == [[1, 0, 0], [0, 1, 0]]
    made.observe(batch(40), says([0.7, 0.2, 0.1]))
    assert target(made, batch(40), 0).tolist() == [[0, 1, 0]]
    assert target(made, batch(7), 150)[0].tolist() == pytest.approx([1, 0, 0])


def test_targets_are_distributions_and_rows_without_a_label_too() -> None:
    made = policy()
    made.observe(batch(40, 12), says([1 - 2e-8, 1e-8, 1e-8], [0.3, 0.3, 0.4]))
    found = target(made, batch(12, 40, 7), 200)
    torch.testing.assert_close(found.sum(-1), torch.ones(3))
    assert found.isfinite().all()


def test_of_a_sample_that_occurs_twice_the_later_answer_stays() -> None:
    made = policy()
    made.observe(batch(7, 40, 7), says([1.0, 0, 0], [0, 1.0, 0], [0, 0.5, 0.5]))
    assert made.past is not None
    assert made.past.dtype == torch.float16
    assert made.past[made.rows(torch.tensor([7]))].tolist() == [[0, 0.5, 0.5]]
    made.observe(batch(7), says([0.25, 0.5, 0.25]))
    assert made.past[made.rows(torch.tensor([7]))].tolist() == [[0.25, 0.5, 0.25]]


def test_a_checkpoint_keeps_it_bit_for_bit(tmp_path: Path) -> None:
    made, again = policy(), policy()
    assert made.state_dict() == {}
    made.observe(batch(40, 7), says([0.7, 0.2, 0.1], [0.1, 0.3, 0.6]))
    save_checkpoint(tmp_path / "c", {"target": made.state_dict()})
    again.load_state_dict(load_checkpoint(tmp_path / "c")["target"])
    assert again.past is not None
    assert made.past is not None
    assert torch.equal(again.past, made.past)
    assert torch.equal(target(again, batch(40, 7), 5), target(made, batch(40, 7), 5))
