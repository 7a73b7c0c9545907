"""`method: dual_head`: two heads learn, one is deployed; what is refused, told and exported."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F

from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, stage_options
from compactor.objectives.auxiliary_head import AuxiliaryHead, logit_distance
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.recipe.spec import LabelsSpec
from compactor.run.pipeline import run_recipe
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.gradients import one_sided_projection
from compactor_runtimes import verify_bundle
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys
from tests.compactor.methods.contract import stopping
from tests.compactor.trainer.test_fit import ONE_STEP, pixels_of, same, train, weights


def preset(**options: Any) -> Preset:
    method = method_named("dual_head", "test")
    assert method.build is not None
    return method.build(stage_options(method, toys.stage(method="dual_head", options=options), "test"))


def two_teachers() -> list[torch.nn.Module]:
    return [toys.classifier(seed=8), toys.classifier(seed=9)]


@pytest.mark.parametrize("align", [True, False])
def test_one_step_by_hand(tmp_path: Path, align: bool) -> None:
    """The labels' gradient is whole, the other is projected; the second head follows its own."""
    student = toys.classifier()
    ours = copy.deepcopy(student)
    torch.manual_seed(3)  # the stage's seed, from which the head is drawn
    head = AuxiliaryHead("linear", 2.0).setup(ours, [])
    made = preset(align=align, aux_weight=4.0)
    stage = toys.stage(method="dual_head", lr=0.1, **ONE_STEP)
    teachers = Teachers(two_teachers())
    train(
        tmp_path,
        student=student,
        stage=stage,
        preset=made,
        teachers=teachers,
        augment=AugmentSpec(),
        n=25,
    )
    pixels = pixels_of(25)
    labels = torch.from_numpy(toys.split(25).labels["label"])
    feature = ours.backbone.body((pixels - 0.5) / 0.5)
    taught = torch.stack([one(pixels)["label"] for one in two_teachers()]).mean(0).detach()
    hard = F.cross_entropy(ours.backbone.head(feature), labels)
    aux = 4 * logit_distance(head(feature), taught, 2.0).mean()
    parameters = list(ours.parameters())
    apart = [
        [
            torch.zeros_like(one) if found is None else found
            for one, found in zip(
                parameters,
                torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True),
                strict=True,
            )
        ]
        for loss in (hard, aux)
    ]
    summed = [a + b for a, b in zip(*apart, strict=True)]
    expected = one_sided_projection(apart) if align else summed
    for trained, before, gradient in zip(student.parameters(), parameters, expected, strict=True):
        torch.testing.assert_close(trained, before - 0.1 * gradient, atol=1e-5, rtol=1e-4)
    trained_head = made.objectives[1][0].head  # type: ignore[attr-defined]
    for trained, before in zip(trained_head.parameters(), head.parameters(), strict=True):
        (gradient,) = torch.autograd.grad(aux, before, retain_graph=True)
        torch.testing.assert_close(trained, before - 0.1 * gradient, atol=1e-5, rtol=1e-4)


def test_a_head_with_a_hidden_layer_survives_a_stop(tmp_path: Path) -> None:
    """Bit for bit, with its dropout and BatchNorm."""
    stage = toys.stage(method="dual_head", lr=0.02)

    def run(folder: str, made: Preset, seed: int = 0) -> dict[str, torch.Tensor]:
        student = toys.classifier(seed)
        teachers = Teachers(two_teachers()[:1])
        train(tmp_path / folder, student=student, stage=stage, preset=made, teachers=teachers)
        return weights(student)

    whole = run("whole", preset(aux="mlp"))
    with pytest.raises(InterruptedRun):
        run("parts", stopping(preset(aux="mlp"), 5))
    torch.manual_seed(999)
    assert same(whole, run("parts", preset(aux="mlp"), seed=5))


def test_a_store_is_refused_and_a_hidden_layer_told_of() -> None:
    method = method_named("dual_head", "test")
    stage = toys.stage(method="dual_head", labels=LabelsSpec())
    with pytest.raises(UsageError, match=r"labels: method dual_head learns the teachers' logits"):
        stage_options(method, stage, "stage toy")
    assert method.told is not None
    for kind, lines in (("linear", 0), ("mlp", 1)):
        stage = toys.stage(method="dual_head", options={"aux": kind})
        assert len(method.told(stage_options(method, stage, "stage toy"), stage)) == lines


SHORT = {"epochs": 1, "batch_size": 16, "lr": 0.02}


def exported(folder: Path, *methods: str) -> Counter[tuple[int, ...]]:
    """Shapes of the weights in the graph that a run ships whose stages have these methods, in their order."""
    taught = ("nd", "dual_head")
    raw = {
        "name": methods[-1],
        "task": "image-classification",
        "data": {"dataset": "digits", "limit": {"train": 64, "select": 40, "report": 40}},
        "student": {"model": "cifar:resnet8", "options": {"width": 4}},
        "stages": [
            {"id": one, "method": one, "teachers": ["stage:supervised"] * (one in taught), **SHORT}
            for one in methods
        ],
        "measure": {"profile": "smoke"},
    }
    loaded = LoadedRecipe(parse_recipe(raw), folder, methods[-1])
    found = run_recipe(loaded, runs=folder / methods[-1], reporter=SilentReporter())
    assert found is not None
    assert verify_bundle(found.bundle)
    (graph,) = found.bundle.rglob("*.onnx")
    return Counter(tuple(one.dims) for one in onnx.load(str(graph)).graph.initializer)


@pytest.mark.heavy
def test_what_further_heads_taught_is_shipped_without_them(tmp_path: Path) -> None:
    """A chain of stages through `run`; the graph has the weights of a student that never had such a head."""
    plain = exported(tmp_path, "supervised")
    assert exported(tmp_path, "supervised", "nd", "sla", "ps_kd", "dual_head") == plain
