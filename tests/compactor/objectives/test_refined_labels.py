"""Cross-entropy to softened labels: rows without a label are left out of sum and count."""

import pytest
import torch

from compactor.objectives.refined_labels import RefinedCrossEntropy
from compactor.records import IGNORE, Batch, Outputs, Soft, Step, Target

AT = Step(0, 1, 0, 1)


def test_golden_and_what_does_not_count() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]] * 2)
    soft = Soft(log_p=torch.tensor([[0.28, 0.68, 0.04], [1.0, 0, 0]]).log())
    batch = Batch({}, {"label": torch.tensor([1, IGNORE])}, torch.arange(2))
    found = RefinedCrossEntropy()(Outputs({"label": logits}), None, Target({"label": soft}), batch, AT)
    term = found["refined_ce"]
    assert term.loss[0].item() == pytest.approx(0.804369, abs=1e-6)
    assert term.loss.isfinite().all()
    assert term.valid is not None
    assert term.valid.tolist() == [True, False]


def test_gradient_is_probability_minus_target() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator, requires_grad=True)
    target = torch.rand(4, 3, generator=generator).softmax(-1)
    batch = Batch({}, {"label": torch.zeros(4, dtype=torch.int64)}, torch.arange(4))
    soft, said = Target({"label": Soft(log_p=target.log())}), Outputs({"label": logits})
    RefinedCrossEntropy()(said, None, soft, batch, AT)["refined_ce"].loss.sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - target)
