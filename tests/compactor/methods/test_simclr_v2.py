"""`method: simclr_v2`: golden values, that it is `kd` in other words, and that unlabelled samples count."""

from typing import Any

import pytest
import torch
from torch import Tensor

from compactor.methods import method_named, parse_options
from compactor.recipe.load import parse_recipe
from compactor.records import IGNORE, Batch, Outputs, Soft, Step, Target
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import UsageError

STUDENT = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
TEACHER = torch.tensor([[2.0, 0.0, 1.0, -0.5]])
AT = Step(0, 1, 0, 1)


def preset_of(name: str, **options: Any) -> Preset:
    method = method_named(name, "here")
    assert method.build is not None
    return method.build(parse_options(method, options, "here"))


def loss(preset: Preset, logits: Tensor, label: int = IGNORE) -> Tensor:
    """What the trainer minimises for one sample."""
    batch = Batch({}, {"label": torch.tensor([label])}, torch.zeros(1, dtype=torch.int64))
    target = Target({"label": Soft(log_p=TEACHER.log_softmax(-1))})
    total = torch.zeros(())
    for objective, weight in preset.objectives:
        (term,) = objective(Outputs({"label": logits}), None, target, batch, AT).values()
        assert not callable(weight)
        total = total + weight * (term.loss if term.valid is None else term.loss[term.valid]).sum()
    return total


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1.629399), (2.0, 5.784886), (0.5, 0.570056)])
def test_golden_values(temperature: float, expected: float) -> None:
    assert loss(preset_of("simclr_v2", temperature=temperature), STUDENT).item() == pytest.approx(
        expected, abs=2e-6
    )


@pytest.mark.parametrize(("temperature", "soft_weight"), [(1.0, 1.0), (2.0, 1.0), (3.0, 0.4)])
def test_its_gradient_is_that_of_kd(temperature: float, soft_weight: float) -> None:
    gradients = []
    for name, options in (("simclr_v2", {}), ("kd", {"divergence": "kl"})):
        logits = STUDENT.clone().requires_grad_()
        loss(
            preset_of(name, temperature=temperature, soft_weight=soft_weight, **options), logits, 2
        ).backward()
        assert logits.grad is not None
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients)


def test_an_unlabelled_sample_has_the_soft_part_alone() -> None:
    both = preset_of("simclr_v2", soft_weight=0.4)
    assert loss(both, STUDENT).item() == pytest.approx(0.4 * 1.629399, abs=1e-6)
    hard = -STUDENT.log_softmax(-1)[0, 2].item()
    assert loss(both, STUDENT, 2).item() == pytest.approx(0.4 * 1.629399 + 0.6 * hard, abs=1e-6)
    assert len(preset_of("simclr_v2").objectives) == 1  # labels are not read


def test_a_store_holds_no_mean_of_logits() -> None:
    raw = {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits", "also": [{"dataset": "digits"}]},
        "student": {"model": "cifar:resnet8"},
        "stages": [
            {"id": "teacher", "method": "supervised", "steps": 2},
            {
                "id": "distil",
                "method": "simclr_v2",
                "teachers": ["stage:teacher"],
                "labels": {"crops": 1},
                "steps": 2,
            },
        ],
    }
    parse_recipe(raw)
    raw["stages"][1]["options"] = {"average": "logits"}  # type: ignore[index]
    with pytest.raises(UsageError, match=r"average: logits found, but a label store holds mean"):
        parse_recipe(raw)
