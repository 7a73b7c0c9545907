"""The match of hidden states by hand, and what of it the student keeps: nothing."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compactor.models.build import build_model
from compactor.models.features import Feature, capture
from compactor.models.student import Student, features_named
from compactor.objectives.hidden import HiddenMatch
from compactor.recipe.spec import ModelSpec
from compactor.records import STATES, Batch, Outputs, Step, Target
from compactor.samplers.shuffle import Shuffle
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor.trainer.fit import accelerator_for
from compactor.trainer.stepper import Stepper
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import text_info

AT = Step(0, 1, 0, 1)
# W maps [a, b] to [a, b, a + b]
W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class Encoder(Student):
    """A model whose hidden states have this width; nothing else of it is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def features(self) -> dict[str, Feature]:
        return {STATES: Feature("backbone.encoder", self.width)}


def states(values: list[Any]) -> Outputs:
    return Outputs({}, features={STATES: torch.tensor(values)})


def batch_of(mask: list[list[int]]) -> Batch:
    return Batch({"attention_mask": torch.tensor(mask)}, {}, torch.arange(len(mask)))


def mapped(distance: Any) -> HiddenMatch:
    """From width 2 to width 3, through W."""
    objective = HiddenMatch(distance)
    made = objective.setup(Encoder(2), [Encoder(3)])
    assert made is objective.projection
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features, made.bias) == (2, 3, None)
    with torch.no_grad():
        made.weight.copy_(W)
    return objective


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # W h = [1, 2, 3] and [0, 1, 1]; squares 1 + 4 + 0 and 0 + 1 + 1, each over 3
        ("mse", [5 / 3, 2 / 3]),
        # dot products 3 * 3 = 9 over sqrt(14) * 3, and 0
        ("cosine", [1 - 3 / math.sqrt(14), 1.0]),
    ],
)
def test_two_tokens_by_hand(distance: Any, expected: list[float]) -> None:
    student = states([[[1.0, 2.0], [0.0, 1.0]]])
    teacher = states([[[0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]])
    (term,) = mapped(distance)(student, teacher, Target(), batch_of([[1, 1]]), AT).values()
    torch.testing.assert_close(term.loss, torch.tensor([expected]))
    assert term.valid is not None
    assert term.valid.tolist() == [[True, True]]


def test_padding_does_not_count() -> None:
    student = states([[[1.0], [9.0]], [[3.0], [5.0]]])
    teacher = states([[[0.0], [-9.0]], [[1.0], [4.0]]])
    objective = HiddenMatch()
    assert objective.setup(Encoder(1), [Encoder(1)]) is None
    term = objective(student, teacher, Target(), batch_of([[1, 0], [1, 1]]), AT)["hidden"]
    assert term.valid is not None
    assert term.valid.tolist() == [[True, False], [True, True]]
    assert term.loss[term.valid].mean().item() == pytest.approx((1 + 4 + 1) / 3)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_equal_widths_are_compared_as_they_are(distance: Any) -> None:
    objective = HiddenMatch(distance)
    assert objective.setup(Encoder(2), [Encoder(2)]) is None
    same = states([[[1.0, 2.0]], [[0.0, 3.0]]])
    term = objective(same, same, Target(), batch_of([[1], [1]]), AT)["hidden"]
    torch.testing.assert_close(term.loss, torch.zeros(2, 1))
    # 1 - cos([1, 0], [0, 2]) = 1; (1 + 4) / 2
    term = objective(states([[[1.0, 0.0]]]), states([[[0.0, 2.0]]]), Target(), batch_of([[1]]), AT)["hidden"]
    assert term.loss.item() == pytest.approx({"mse": 2.5, "cosine": 1.0}[distance])


def test_a_later_setup_forgets_the_map() -> None:
    objective = mapped("mse")
    assert objective.setup(Encoder(3), [Encoder(3)]) is None
    assert objective.projection is None


def test_half_precision_is_compared_in_float32() -> None:
    objective = HiddenMatch()
    objective.setup(Encoder(1), [Encoder(1)])
    student = Outputs({}, features={STATES: torch.tensor([[[300.0]]], dtype=torch.float16)})
    term = objective(student, states([[[0.0]]]), Target(), batch_of([[1]]), AT)["hidden"]
    assert term.loss.dtype == torch.float32
    assert term.loss.item() == 90_000  # beyond what half precision holds


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_without_states_is_refused(role: Any, tmp_path: Path) -> None:
    ours, theirs = real_model(tmp_path, "1x8", 0), real_model(tmp_path, "1x8", 1)
    student = toys.classifier() if role == "student" else ours
    teacher = toys.classifier() if role == "teacher" else theirs
    preset = Preset([(HiddenMatch(), 1.0)], TargetPolicy(), Shuffle())
    with pytest.raises(UsageError) as caught:
        Stepper(
            accelerator_for("fp32"), student, preset, Teachers([teacher]), toys.stage(), name="hop", seed=0
        )
    assert str(caught.value) == (
        f"stage hop.options.hidden_weight: compares the feature 'states', which the {role}'s Mlp does not "
        "have (it has penultimate); leave the option out, or name another model"
    )


def test_without_a_live_teacher_it_is_refused(tmp_path: Path) -> None:
    preset = Preset([(HiddenMatch(), 1.0)], TargetPolicy(), Shuffle())
    with pytest.raises(
        UsageError, match=r"stage hop\.options\.hidden_weight: .* none runs beside the student"
    ):
        Stepper(
            accelerator_for("fp32"),
            real_model(tmp_path, "1x8", 0),
            preset,
            None,
            toys.stage(),
            name="hop",
            seed=0,
        )


def real_model(folder: Path, size: str, seed: int) -> nn.Module:
    info = replace(
        text_info(folder, task="intent-slots"), classes={"intent": ["a", "b"], "slot": ["O", "B-x", "I-x"]}
    )
    options = {"heads": 2, "norm": "pre", "dropout": 0.0}
    spec = ModelSpec(model=f"encoder:{size}", options=options)
    return build_model(spec, info, base=folder, seed=seed)


def test_real_encoders_are_matched_and_the_student_keeps_nothing(tmp_path: Path) -> None:
    """Features come from the modules' forwards; W and the student get gradients, the teacher none."""
    student, teacher = real_model(tmp_path, "1x8", 0), real_model(tmp_path, "2x12", 1)
    names, teachers = set(student.state_dict()), Teachers([teacher])
    objective = HiddenMatch()
    made = objective.setup(student, teachers.models)
    assert isinstance(made, nn.Linear)
    assert set(student.state_dict()) == names
    assert not {id(value) for value in made.parameters()} & {id(value) for value in student.parameters()}
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    batch = Batch({"input_ids": ids, "attention_mask": mask}, {}, torch.arange(2))
    taught = teachers(batch, features_named(objective.needs.teacher, teacher, "teacher", at="here"))
    with capture(student, features_named(objective.needs.student, student, "student", at="here")) as seen:
        said = Outputs(student(**batch.x), features=seen)
    # the last states are those after the last LayerNorm: each token has mean 0 and variance 1
    for outputs, width in ((said, 8), (taught, 12)):
        last = outputs.features[STATES]
        assert last.shape == (2, 4, width)
        torch.testing.assert_close(last.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
        torch.testing.assert_close(last.square().mean(-1), torch.ones(2, 4), atol=1e-3, rtol=0)
    term = objective(said, taught, Target(), batch, AT)["hidden"]
    gap = made(said.features[STATES]) - taught.features[STATES]
    torch.testing.assert_close(term.loss, gap.norm(dim=-1) ** 2 / 12)
    assert term.valid is not None
    assert term.valid.tolist() == [[True] * 4, [True, True, True, False]]
    term.loss[term.valid].mean().backward()
    assert made.weight.grad is not None
    assert made.weight.grad.abs().sum() > 0
    reached = {name for name, value in student.named_parameters() if value.grad is not None}
    assert any("encoder" in name for name in reached)
    assert not any("heads" in name for name in reached)
    assert all(value.grad is None for value in teacher.parameters())
