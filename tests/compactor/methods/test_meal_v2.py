"""MEAL V2: golden values of its two losses (computed in float64), its switches, and what never enters it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.methods import method_named, parse_options
from compactor.mixers.averages import MeanMixer
from compactor.objectives.discriminator import Adversary, Discriminator
from compactor.objectives.divergences import SoftCrossEntropy
from compactor.recipe.load import parse_recipe
from compactor.recipe.spec import StageSpec
from compactor.records import LAM, PARTNER, Batch, Outputs, Soft, Step, Target
from compactor.targets.live_teacher import LiveTeacher
from compactor.teachers import Teachers
from compactor.trainer.fit import accelerator_for, fit
from compactor.trainer.schedule import lr_factor
from compactor.trainer.stepper import Stepper
from compactor_runtimes.errors import UsageError
from tests import toys

AT = Step(0, 1, 0, 1)
SMALL = {"discriminator": {"reduction": 2}}
NINE = [str(number) for number in range(9)]


def batch(n: int) -> Batch:
    return Batch({}, {}, torch.arange(n))


def outputs(rows: list[list[float]] | Tensor) -> Outputs:
    return Outputs({"label": torch.as_tensor(rows)})


def fixed(answers: dict[float, list[float]]) -> nn.Module:
    """A discriminator that answers by a row's first score."""

    class Table(nn.Module):
        def forward(self, scores: Tensor) -> Tensor:
            return torch.tensor([answers[round(float(row[0]), 3)] for row in scores])

    return Table()


def adversary(num_classes: int = 4, seed: int = 0, **options: Any) -> Adversary:
    torch.manual_seed(seed)
    made = Adversary(reduction=2, **options)
    made.layers = nn.ModuleDict(
        {"label": Discriminator(num_classes, 2, last_relu=options.get("last_relu", True))}
    )
    return made


def term(made: Adversary, student: Outputs, teacher: Outputs | None, **target: Any) -> Tensor:
    size = len(student.logits["label"])
    (found,) = made(student, teacher, Target(**target), batch(size), AT).values()
    return found.loss


# ---- the two averages and the similarity loss


def test_similarity_to_the_mean_of_softmaxes() -> None:
    mixed = MeanMixer()([outputs([[2.0, 0.0, -1.0]]), outputs([[0.0, 3.0, 0.0]])])
    assert mixed.log_probs is not None
    p = mixed.log_probs["label"].exp()
    torch.testing.assert_close(p, torch.tensor([[0.44453662, 0.51181910, 0.04364428]]), atol=1e-6, rtol=0)
    of_logits = mixed.logits["label"].softmax(-1)
    assert of_logits[0].tolist() == pytest.approx([0.34820743, 0.57409699, 0.07769558], abs=1e-6)

    s = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)
    target = LiveTeacher().make(batch(1), mixed, AT)
    loss = SoftCrossEntropy()(outputs(s), None, target, batch(1), AT)["soft_ce"].loss
    assert loss.item() == pytest.approx(0.90563909, abs=1e-6)
    assert -(p * p.log()).sum().item() == pytest.approx(0.83988432, abs=1e-6)
    loss.sum().backward()
    assert s.grad is not None
    assert s.grad[0].tolist() == pytest.approx([-0.02221782, -0.08950030, 0.11171812], abs=1e-6)


# ---- the discriminator


@pytest.mark.parametrize(
    ("classes", "reduction", "parameters"),
    [(1000, 8, 127_047), (10, 2, 73), (100, 8, 1_229), (100, 4, 2_695)],
)
def test_discriminator_sizes(classes: int, reduction: int, parameters: int) -> None:
    made = Discriminator(classes, reduction, last_relu=True)
    assert sum(one.numel() for one in made.parameters()) == parameters


def test_a_layer_without_units_is_refused_with_what_would_fit() -> None:
    with pytest.raises(UsageError, match=r"8 makes layers of 10 -> 1 -> 0 -> 2 .* at most 3"):
        Discriminator(10, 8, last_relu=True)
    Discriminator(10, 3, last_relu=True)  # 10 -> 3 -> 1 -> 2


def test_discriminator_loss_golden_value_and_order() -> None:
    made = Adversary()
    made.layers = nn.ModuleDict({"label": fixed({7.0: [2.0, 0.0], -7.0: [0.5, 1.0]})})
    student, teacher = outputs([[7.0, 0.0]]), outputs([[-7.0, 0.0]])
    assert term(made, student, teacher).item() == pytest.approx(0.52685347, abs=1e-6)
    assert term(made, teacher, student).item() != pytest.approx(0.52685347, abs=1e-2)


def test_last_relu_bounds_the_loss_and_can_die() -> None:
    student = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    teacher = outputs(torch.randn(64, 4))
    made = adversary()
    assert (made.layers["label"](student) >= 0).all()
    assert term(made, outputs(student), teacher).min() >= math.log(2) / 2 - 1e-6
    last = made.layers["label"].layers[-2]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    loss = term(made, outputs(student), teacher).mean()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    loss.backward()
    assert not student.grad.any()
    assert not any(one.grad.any() for one in made.layers.parameters())


@pytest.mark.parametrize(("kind", "sign"), [("same-sign", -1), ("reversed", 1), ("detached", 0)])
def test_what_it_does_to_the_student(kind: Any, sign: int) -> None:
    """A small gradient step of the student alone lowers the loss as published, raises it when reversed."""
    made = adversary(16, student=kind, last_relu=False)
    student = torch.randn(32, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    teacher = torch.randn(32, 16).requires_grad_()
    before = term(made, outputs(student), outputs(teacher.detach())).mean()
    before.backward()
    assert teacher.grad is None
    assert all(one.grad is not None and one.grad.any() for one in made.layers.parameters())
    if kind == "detached":
        assert student.grad is None
        return
    after = term(made, outputs(student - 0.1 * student.grad), outputs(teacher.detach())).mean()
    assert math.copysign(1, after.item() - before.item()) == sign


def test_probabilities_and_mixed_stored_labels() -> None:
    """Lam L(a) + (1 - lam) L(b): the discriminator sees each label, never their mixture."""
    made = adversary(scores="probabilities")
    log_p = torch.randn(2, 4).log_softmax(-1)
    soft = Soft(log_p=log_p)
    student = outputs(torch.randn(2, 4))
    rows = made.layers["label"](log_p.exp())
    wanted = torch.tensor([0.0, 1.0]).expand(2, 2)
    teachers = nn.functional.binary_cross_entropy_with_logits(rows, wanted, reduction="none").mean(-1)
    plain = term(made, student, None, heads={"label": soft})
    partner, lam = torch.tensor([1, 0]), torch.full((2,), 0.25)
    mixed = Batch({}, {}, torch.arange(2), aux={PARTNER: partner, LAM: lam})
    target = Target({"label": Soft(log_p=torch.zeros(2, 4))}, unmixed={"label": soft})
    found = made(student, None, target, mixed, AT)["discriminator"].loss
    torch.testing.assert_close(found - plain, 0.75 * (teachers.flip(0) - teachers) / 2)


# ---- on-line CutMix


def test_cutmix_comes_before_everyone_and_leaves_the_target_alone() -> None:
    torch.manual_seed(0)
    pixels = torch.rand(6, 1, 8, 8)
    policy = LiveTeacher(cutmix=True)
    mixed = policy.transform(Batch({"pixel_values": pixels}, {}, torch.arange(6)))
    partner = pixels[mixed.aux[PARTNER]]
    assert ((mixed.x["pixel_values"] == pixels) | (mixed.x["pixel_values"] == partner)).all()
    share = (mixed.x["pixel_values"] == pixels).float().mean((1, 2, 3))[mixed.aux[PARTNER] != torch.arange(6)]
    torch.testing.assert_close(share, mixed.aux[LAM][: len(share)])
    answers = Outputs({"label": torch.zeros(6, 3)}, {"label": torch.randn(6, 3).log_softmax(-1)})
    assert policy.make(mixed, answers, AT).heads["label"].log_p is answers.log_probs["label"]


# ---- schedule


def test_step_schedule() -> None:
    rates = [
        lr_factor(Step(0, 1, epoch, 180), warmup=0, schedule="step", milestones=[101, 150])
        for epoch in (0, 100, 101, 149, 150, 300)
    ]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "step"}, r"milestones: \[\] found, expected ascending"),
        ({"schedule": "step", "milestones": [5, 3]}, r"\[5, 3\] found, expected ascending"),
        ({"schedule": "step", "milestones": [3, 3]}, r"\[3, 3\] found, expected ascending"),
        ({"schedule": "step", "milestones": [9]}, "9 found, but the stage ends after 9 epochs"),
        ({"milestones": [3]}, "no effect with schedule cosine"),
        ({"gamma": 0.2}, "no effect with schedule cosine"),
        ({"options": {"crops_per_image": 2}}, "live teachers see one crop"),
        ({"options": {"cutmix": True, "hard_weight": 0.5}}, "hard_weight reads one label, but cutmix pastes"),
        ({"options": {"discriminator": {"reduction": 1}}}, "reduction"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    stage = {"id": "distil", "method": "meal_v2", "epochs": 9, **changes}
    raw = {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"},
        "teachers": [{"model": "cifar:resnet20", "weights": "teacher.safetensors"}],
        "stages": [stage],
    }
    with pytest.raises(UsageError, match=message):
        parse_recipe(raw)


def test_texts_do_not_mix() -> None:
    raw = {
        "name": "toy",
        "task": "text-classification",
        "data": {"dataset": "texts.csv", "tokenizer": "tokenizer.json"},
        "student": {"model": "module:toys:student"},
        "teachers": [{"model": "hf:teacher", "weights": "pretrained"}],
        "stages": [{"id": "distil", "method": "meal_v2", "epochs": 1, "options": {"cutmix": True}}],
    }
    with pytest.raises(UsageError, match="cutmix: only images mix"):
        parse_recipe(raw)


# ---- in the trainer


def stage(**changes: Any) -> StageSpec:
    settings = {"method": "meal_v2", "steps": 3, "epochs": None, "options": SMALL, "weight_decay": 0.0}
    return toys.stage(**{**settings, **changes})


def trained(folder: Path, spec: StageSpec, split: Split | None = None) -> dict[str, Tensor]:
    folder.mkdir()
    student, method = wide(0), method_named("meal_v2", "test")
    data = toys.split(24) if split is None else split
    fit(
        student,
        method.build(parse_options(method, spec.options, "test")),
        lambda rank, world: ImageLoader(
            data, batch_size=8, augment=AugmentSpec(flip=True), seed=3, rank=rank, world=world
        ),
        training=spec,
        name=spec.id,
        seed=3,
        folder=folder,
        teachers=Teachers([wide(1), wide(2)]),
    )
    return student.state_dict()


def wide(seed: int) -> nn.Module:
    """Nine classes, so that a reduction of 2 leaves units: 9 -> 4 -> 2 -> 2."""
    made = toys.classifier(seed, num_classes=9)
    made.info = toys.info(classes=NINE)
    return made


def test_hard_labels_never_enter(tmp_path: Path) -> None:
    split = toys.split(24)
    permuted = Split("train", split.inputs, {"label": split.labels["label"][::-1].copy()}, split.rows, "p")
    first, second = trained(tmp_path / "a", stage(), split), trained(tmp_path / "b", stage(), permuted)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with_labels = stage(options={**SMALL, "hard_weight": 0.5})
    third, fourth = (
        trained(tmp_path / name, with_labels, data) for name, data in (("c", split), ("d", permuted))
    )
    assert not all(torch.equal(third[key], fourth[key]) for key in third)


def test_the_discriminator_changes_the_student_and_stays_out_of_it(tmp_path: Path) -> None:
    with_it, without = (
        trained(tmp_path / "a", stage()),
        trained(tmp_path / "b", stage(options={"discriminator": None})),
    )
    assert with_it.keys() == without.keys() == wide(0).state_dict().keys()
    assert not all(torch.equal(with_it[key], without[key]) for key in with_it)


@pytest.mark.parametrize(("lr", "expected"), [("student", 0.005), (1e-4, 1e-4)])
def test_rate_of_the_discriminator(lr: Any, expected: float) -> None:
    """Faithful: the student's rate after the schedule; fixed: 1e-4 whatever the schedule says."""
    spec = stage(
        schedule="step",
        milestones=[1],
        steps=None,
        epochs=2,
        options={"discriminator": {"lr": lr, "reduction": 2}},
    )
    method = method_named("meal_v2", "test")
    preset = method.build(parse_options(method, spec.options, "test"))
    student = wide(0)
    stepper = Stepper(accelerator_for("fp32"), student, preset, Teachers([wide(1)]), spec, name="toy", seed=0)
    loader = ImageLoader(toys.split(8), batch_size=8, augment=AugmentSpec(), seed=0, rank=0, world=1)
    teacher = wide(1).state_dict()
    stepper(next(iter(loader.epoch(0, np.arange(8)))), Step(1, 2, 1, 2), warmup=0)
    groups = stepper.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.005, expected])
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]
    counted = sum(one.numel() for group in groups for one in group["params"])
    own = sum(one.numel() for one in student.parameters())
    assert counted == own + (9 * 4 + 4) + (4 * 2 + 2) + (2 * 2 + 2)
    assert stepper.teachers is not None
    assert not stepper.teachers.models[0].training
    assert all(
        torch.equal(teacher[key], value) for key, value in stepper.teachers.models[0].state_dict().items()
    )
