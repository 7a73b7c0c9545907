"""`method: nd`: a step by hand, a projector that survives a stop and is not kept, what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, stage_options
from compactor.methods.nd import rising
from compactor.recipe.load import parse_recipe
from compactor.recipe.spec import LabelsSpec
from compactor.records import Step
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult, fit
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys
from tests.compactor.methods.contract import stopping
from tests.compactor.recipe.test_load import changed
from tests.compactor.trainer.test_fit import ONE_STEP, pixels_of, same, weights

TEACHER = {"model": "cifar:resnet8", "weights": "w.safetensors"}


def preset(**options: Any) -> Preset:
    method = method_named("nd", "test")
    assert method.build is not None
    return method.build(stage_options(method, toys.stage(method="nd", options=options), "test"))


def train(folder: Path, student: torch.nn.Module, made: Preset, *, n: int = 25, **stage: Any) -> FitResult:
    folder.mkdir(exist_ok=True)
    split, spec = toys.split(n), toys.stage(method="nd", **stage)
    return fit(
        student,
        made,
        lambda rank, world: ImageLoader(split, batch_size=spec.batch_size, augment=AugmentSpec(), seed=3),
        training=spec,
        name="toy",
        seed=3,
        folder=folder,
        teachers=Teachers([toys.classifier(seed=8)]),
        each_once=lambda: eval_batches(split, 8),
    )


def feature(net: torch.nn.Module) -> Tensor:
    return net.backbone.body((pixels_of(25) - 0.5) / 0.5)


def test_one_step_by_hand(tmp_path: Path) -> None:
    """Cross-entropy, 16 KL at temperature 4 and twice ND, against autograd; class means one by one."""
    student, teacher = toys.classifier(), toys.classifier(seed=8)
    ours = copy.deepcopy(student)
    made = preset(nd_weight=2.0, kd_weight=0.5, kd_warmup_epochs=0)
    result = train(tmp_path, student, made, lr=0.1, **ONE_STEP)
    labels = torch.from_numpy(toys.split(25).labels["label"])
    f, t = feature(ours), feature(teacher).detach()
    s, q = ours.backbone.head(f), teacher.backbone.head(t).detach()
    kl = 16 * F.kl_div((s / 4).log_softmax(-1), (q / 4).softmax(-1), reduction="batchmean")
    nd = []
    for i, label in enumerate(labels.tolist()):
        mean = t[labels == label].mean(0)
        nd.append(1 - f[i] @ (mean / mean.norm()) / torch.maximum(f[i].norm(), t[i].norm()))
    hard, direction = F.cross_entropy(s, labels), torch.stack(nd).mean()
    (hard + 0.5 * kl + 2 * direction).backward()
    terms = {"hard_ce": hard.item(), "kl": kl.item(), "nd": direction.item()}
    assert result.history[0]["terms"] == pytest.approx(terms, abs=1e-5)
    for trained, expected in zip(student.parameters(), ours.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(trained, expected - 0.1 * expected.grad, atol=1e-5, rtol=1e-4)


def test_the_weight_of_the_divergence_rises_from_nothing() -> None:
    at = rising(2.0, 20)
    assert [at(Step(0, 1, epoch, 240)) for epoch in (0, 5, 20, 100)] == [0, 0.5, 2, 2]
    assert rising(2.0, 0)(Step(0, 1, 0, 240)) == 2


def test_a_projector_survives_a_stop_and_is_not_kept(tmp_path: Path) -> None:
    """Bit for bit, with its dropout; the student is narrower than its teacher."""

    def student(seed: int = 0) -> torch.nn.Module:
        return toys.classifier(seed, hidden=8)

    whole, parts = student(), student(seed=5)
    train(tmp_path / "whole", whole, preset(), n=26)
    with pytest.raises(InterruptedRun):
        train(tmp_path / "parts", student(), stopping(preset(), 5), n=26)
    torch.manual_seed(999)
    train(tmp_path / "parts", parts, preset(), n=26)
    assert same(weights(whole), weights(parts))
    assert set(whole.state_dict()) == set(student().state_dict())


def test_what_a_plan_tells() -> None:
    method = method_named("nd", "test")
    assert method.told is not None

    def told(**stage: Any) -> str:
        spec = toys.stage(method="nd", **stage)
        return " ".join(method.told(stage_options(method, spec, "stage toy"), spec))  # type: ignore[misc]

    assert "the process's own part of a batch" in told()
    assert "kd_warmup_epochs is 20 of 5 epochs: the weight of the KL comes to 0.2 of 1" in told(epochs=5)
    assert "kd_warmup_epochs" not in told(epochs=21) + told(epochs=5, options={"kd_weight": 0})


def test_a_label_store_is_refused() -> None:
    stage = toys.stage(method="nd", labels=LabelsSpec())
    with pytest.raises(UsageError, match="stage toy.labels: method nd compares features of a teacher"):
        stage_options(method_named("nd", "test"), stage, "stage toy")


@pytest.mark.parametrize("method", ["nd", "dual_head", "sla", "ps_kd"])
@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            "intent-slots",
            "learns one class of a sample, task intent-slots answers with intent of a",
        ),
        ("masked-lm", "learns one class of a sample, task masked-lm answers with mlm of a token"),
        ("text-multi-label", "compares classes, task text-multi-label answers with any number of labels"),
        ("embedding", "compares classes, task embedding answers with embedding"),
        ("text-classification", None),
    ],
)
def test_what_answers_otherwise_than_with_one_class_is_refused(method: str, task: str, said: str) -> None:
    raw = changed("task", task if task != "masked-lm" else "text-classification")
    raw |= {"data": {"dataset": "t.csv", "tokenizer": "t.json"}, "teachers": [TEACHER]}
    raw["student"] = {"model": "encoder:1x8"}
    last = raw["stages"].pop()
    stage = {"id": "learn", "method": method, "epochs": 1}
    raw["stages"] = [stage | {"task": task}, last] if task == "masked-lm" else [stage]
    if method == "sla" and said is None:
        said = "'sla' transforms images, task text-classification reads texts"
    if said is None:
        parse_recipe(raw)
        return
    with pytest.raises(UsageError, match=said):
        parse_recipe(raw)


@pytest.mark.parametrize("method", ["sla", "ps_kd"])
def test_methods_without_a_teacher_need_none_and_read_no_store(method: str) -> None:
    raw = changed("stages.0.method", method)
    parse_recipe(raw)
    raw["stages"][0]["labels"] = {"crops": 1}
    with pytest.raises(UsageError, match="cannot learn from a label store"):
        parse_recipe(raw | {"teachers": [TEACHER]})


def test_a_student_or_teacher_without_the_feature_is_refused(tmp_path: Path) -> None:
    from compactor.models.classifier import Backbone, ImageClassifier

    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Tanh())
    student = ImageClassifier(Backbone(flat, [0.5], [0.5]), toys.info())
    with pytest.raises(UsageError, match="compares the feature 'penultimate', which the student's Seq"):
        train(tmp_path, student, preset())
