"""SSLD: no label enters, the teacher's BatchNorm goes by the batch, what a store lacks is refused."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options, stage_options
from compactor.models.batch_norm import batch_norms, on_batch_statistics
from compactor.models.build import build_model
from compactor.models.student import Student
from compactor.recipe.spec import LabelsSpec, ModelSpec
from compactor.records import Batch, Step
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import accelerator_for, fit
from compactor.trainer.stepper import Stepper
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys


def teacher(folder: Path) -> Student:
    """Running statistics far from those of any batch, so that the two modes differ."""
    torch.manual_seed(4)
    model = build_model(ModelSpec(model="cifar:resnet8", options={"width": 4}), toys.info(), base=folder)
    for layer in batch_norms(model):
        layer.running_mean.fill_(0.3)
        layer.running_var.fill_(2.0)
    return model


def preset(**options: Any) -> Preset:
    method = method_named("ssld", "test")
    return method.build(parse_options(method, options, "test"))


def trained(folder: Path, labels: np.ndarray | None = None, **arguments: Any) -> dict[str, Tensor]:
    """Weights of a student after three epochs."""
    folder.mkdir(exist_ok=True)
    data, student = toys.split(26), toys.classifier(dropout=0.2)
    if labels is not None:
        data.labels["label"][:] = labels
    fit(
        student,
        arguments.pop("preset", None) or preset(),
        lambda rank, world: ImageLoader(
            data, batch_size=8, augment=AugmentSpec(crop="pad", padding=1), seed=3, rank=rank, world=world
        ),
        training=toys.stage(method="ssld"),
        name="toy",
        seed=3,
        folder=folder,
        teachers=arguments.pop("teachers", None) or Teachers([teacher(folder)]),
        **arguments,
    )
    return {name: value.clone() for name, value in student.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_labels_may_be_permuted_or_missing_and_nothing_changes(tmp_path: Path) -> None:
    own = trained(tmp_path / "own")
    permuted = np.random.default_rng(1).permutation(toys.split(26).labels["label"])
    assert equal(own, trained(tmp_path / "permuted", permuted))
    assert equal(own, trained(tmp_path / "none", np.full(26, -100)))


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    steps = 0

    def stop(step: int, student: nn.Module, loss: Tensor) -> None:
        nonlocal steps
        steps = step
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", watch=stop)
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "parts", deadline_s=0.0)
    assert equal(whole, trained(tmp_path / "parts"))


def test_the_teachers_running_statistics_survive_a_step_by_the_batch(tmp_path: Path) -> None:
    model, student = teacher(tmp_path), toys.classifier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in ("batch", "eval"):
        stepper = Stepper(
            accelerator_for("fp32"),
            copy.deepcopy(student),
            preset(teacher_bn=mode),
            Teachers([model]),
            toys.stage(),
            name="toy",
            seed=0,
        )
        data = toys.split(8)
        loader = ImageLoader(data, batch_size=8, augment=AugmentSpec(), seed=0)
        for batch in loader.epoch(0, np.arange(8)):
            stepper(batch, Step(0, 1, 0, 1), warmup=0)
        assert equal(before, model.state_dict())
        assert not any(module.training for module in model.modules())
        assert all(layer.track_running_stats for layer in batch_norms(model))


def test_by_the_batch_means_the_mean_and_variance_of_the_batch() -> None:
    """Against the formula, for BatchNorm and timm's BatchNorm with an activation; dropout stays off."""
    from timm.layers import BatchNormAct2d

    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    expected = (x - mean) / (var + 1e-5).sqrt()
    for layer, act in ((nn.BatchNorm2d(3), nn.Identity()), (BatchNormAct2d(3), nn.ReLU())):
        model = nn.Sequential(layer, nn.Dropout(0.9)).eval()
        with torch.no_grad(), on_batch_statistics([model]):
            torch.testing.assert_close(model(x), act(expected), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(x), act(x / (1 + 1e-5) ** 0.5))
        assert layer.running_mean.tolist() == [0, 0, 0]
        assert int(layer.num_batches_tracked) == 0


def test_the_statistics_are_put_back_if_the_teacher_fails() -> None:
    layer = nn.BatchNorm2d(3).eval()
    with pytest.raises(ValueError, match="boom"), on_batch_statistics([layer]):
        raise ValueError("boom")
    assert (layer.training, layer.track_running_stats) == (False, True)


def test_what_a_step_learns_is_the_symmetric_divergence_to_the_batch_teacher(tmp_path: Path) -> None:
    """The logged term equals 1/2 sum (q - p)(log q - log p) by hand, mean over the batch."""
    model, student, data = teacher(tmp_path), toys.classifier(), toys.split(8)
    batch: Batch = next(ImageLoader(data, batch_size=8, augment=AugmentSpec(), seed=0).epoch(0, np.arange(8)))
    with torch.no_grad(), on_batch_statistics([model]):
        log_q = model(**batch.x)["label"].log_softmax(-1)
    log_p = student(**batch.x)["label"].log_softmax(-1)
    by_hand = (0.5 * ((log_q.exp() - log_p.exp()) * (log_q - log_p)).sum(-1)).mean().item()
    stepper = Stepper(
        accelerator_for("fp32"), student, preset(), Teachers([model]), toys.stage(), name="toy", seed=0
    )
    stepper(batch, Step(0, 1, 0, 1), warmup=0)
    assert stepper.means() == {"sym_kl": pytest.approx(by_hand, rel=1e-5)}


def test_a_store_has_no_batch_to_go_by_and_no_infinite_labels() -> None:
    method = method_named("ssld", "test")

    def options(labels: dict[str, Any], **found: Any) -> Any:
        stage = toys.stage(method="ssld", options=found, labels=LabelsSpec(**labels))
        return stage_options(method, stage, "stage toy")

    assert options({}).teacher_bn is None
    with pytest.raises(UsageError, match=r"teacher_bn: batch found, but a store's labels"):
        options({}, teacher_bn="batch")
    for quantization in ("hard", "marginal-renorm"):
        with pytest.raises(
            UsageError, match=rf"labels\.quantization: {quantization} found.*sym_kl is infinite"
        ):
            options({"quantization": quantization})
        assert options({"quantization": quantization}, divergence="soft_ce").divergence == "soft_ce"
    kd = method_named("kd", "test")
    stage = toys.stage(method="kd", options={"divergence": "sym_kl"}, labels=LabelsSpec(quantization="hard"))
    with pytest.raises(UsageError, match="sym_kl is infinite"):
        stage_options(kd, stage, "stage toy")


def test_a_plan_says_whose_statistics_count() -> None:
    method = method_named("ssld", "test")
    assert method.told is not None

    def told(**changes: Any) -> list[str]:
        stage = toys.stage(method="ssld", **changes)
        return method.told(stage_options(method, stage, "stage toy"), stage)

    assert "normalises by each batch" in told()[0]
    assert told(options={"teacher_bn": "eval"}) == []
    assert told(labels=LabelsSpec()) == [
        "teacher_bn is eval: its labels come from a store, made with running statistics"
    ]
