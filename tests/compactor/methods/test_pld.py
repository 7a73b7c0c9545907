"""`method: pld` through the training loop, live and from a label store."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.methods.from_store import Stored
from compactor.methods.pld import Options, build, build_stored
from compactor.objectives.with_label import PlackettLuce
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import LabelsSpec
from compactor.targets.live_teacher import LiveTeacher
from compactor.targets.stored import StoredLabels
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor import label_toys
from tests.compactor.objectives.formulas import of
from tests.compactor.targets.test_stored import train as stored
from tests.compactor.trainer.test_fit import ONE_STEP, pixels_of, train

__all__ = ["stored"]
STAGE = (
    "stages=[{id: a, method: pld, epochs: 1, teachers: [{model: 'cifar:resnet8', weights: x.safetensors}]}]"
)


def test_the_loss_is_the_whole_preset() -> None:
    preset = build(Options(temperature=4.0, average="logits", head_weights={"label": 2.0}))
    ((objective, weight),) = preset.objectives
    assert isinstance(objective, PlackettLuce)
    assert (objective.temperature, weight) == (4.0, 1.0)
    assert isinstance(preset.target, LiveTeacher)
    assert (preset.target.average, preset.head_weights) == ("logits", {"label": 2.0})


def test_one_step_has_the_loss_of_student_teacher_and_label(tmp_path: Path) -> None:
    student, teacher = toys.classifier(), toys.classifier(1)
    labels = torch.from_numpy(toys.split(25).labels["label"])
    with torch.no_grad():
        s, t = (one(pixels_of(25))["label"] for one in (student, teacher))
    expected = of(PlackettLuce(2.0), s, t, labels).mean().item()
    stage = toys.stage(**ONE_STEP)
    found = train(
        tmp_path,
        student=student,
        stage=stage,
        preset=build(Options(temperature=2.0)),
        teachers=Teachers([teacher]),
        augment=AugmentSpec(),
        n=25,
    )
    assert found.history[0]["terms"] == {"pld": pytest.approx(expected, abs=1e-6)}


def test_a_student_learns_the_teachers_ranking(tmp_path: Path) -> None:
    preset = build(Options())
    history = train(
        tmp_path,
        student=toys.classifier(),
        stage=toys.stage(epochs=12),
        preset=preset,
        teachers=Teachers([toys.classifier(1)]),
    ).history
    assert history[-1]["terms"]["pld"] < history[0]["terms"]["pld"]


def test_it_is_built_for_a_label_store(stored: Any) -> None:
    stage = toys.stage(method="pld", batch_size=12)
    spec = LabelsSpec(quantization="full")
    preset = build_stored(Options(), Stored(stored, label_toys.splits()["train"], stage, spec, 3))
    assert isinstance(preset.target, StoredLabels)
    assert [type(one) for one, _ in preset.objectives] == [PlackettLuce]


def test_recipes() -> None:
    load_recipe("digits", [STAGE, "stages.0.options={temperature: 4.0}", "stages.0.labels.crops=2"])
    with pytest.raises(UsageError, match=r"stages\.0\.options\.average: logits found, but a label store"):
        load_recipe("digits", [STAGE, "stages.0.options={average: logits}", "stages.0.labels.crops=2"])
    with pytest.raises(UsageError, match=r"stages\.0\.method: 'pld' compares classes"):
        load_recipe("digits", [STAGE, "task=image-multi-label"])
    with pytest.raises(UsageError, match=r"here\.options\.temperature"):
        parse_options(method_named("pld", "here"), {"temperature": 0}, "here")
