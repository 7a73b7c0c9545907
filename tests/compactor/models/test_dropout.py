"""Dropout of students: it acts in training, by the option of their family, and nothing of it is shipped."""

from pathlib import Path

import pytest
import torch
from torch import nn

from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.features import capture
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import PENULTIMATE
from compactor_runtimes.errors import UsageError
from tests import toys

MODELS = {
    "cifar:resnet8": ("dropout", {"width": 4}),
    "timm:mobilenetv3_small_050": ("drop_rate", {}),
}


def build(name: str, share: float | None) -> Student:
    option, options = MODELS[name]
    dropout = {} if share is None else {option: share}
    spec = ModelSpec(model=name, options=options | dropout)
    return build_model(spec, toys.info(32 if name.startswith("timm") else 8), base=Path(), seed=1)


def twice(model: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model says of the same inputs, with its batch statistics left alone."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        return model(**model.example(4))["label"], model(**model.example(4))["label"]


@pytest.mark.parametrize("name", MODELS)
def test_it_acts_in_training_alone(name: str) -> None:
    plain, dropped = build(name, None), build(name, 0.5)
    assert torch.equal(*twice(plain.train()))
    assert not torch.equal(*twice(dropped.train()))
    (expected, _), (first, second) = twice(plain.eval()), twice(dropped.eval())
    assert torch.equal(first, second)
    assert torch.equal(first, expected)  # and its weights are those of a model without the option


@pytest.mark.slow  # it traces
@pytest.mark.parametrize("name", MODELS)
def test_the_deployed_graph_holds_nothing_of_it(name: str) -> None:
    plain, dropped = build(name, None), build(name, 0.5).train()
    inputs = tuple(plain.example().values())
    graphs = [torch.export.export(one.deploy(), inputs).run_decompositions() for one in (plain, dropped)]
    first, second = ([str(node.target) for node in graph.graph.nodes] for graph in graphs)
    assert first == [one for one in second if not one.startswith("aten.clone")]  # what is left of timm's


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_student_has_it_still(name: str, tmp_path: Path) -> None:
    option, options = MODELS[name]
    model = build(name, 0.5)
    save_model(model, ModelSpec(model=name, options=options | {option: 0.5}), tmp_path / "model")
    again = load_model_folder(tmp_path / "model")
    assert torch.equal(*twice(again))
    assert not torch.equal(*twice(again.train()))


def test_cifars_is_inverted_and_right_before_the_linear_layer() -> None:
    """With a share of 0.75 what is left is four times as large."""
    plain, dropped = build("cifar:resnet8", None).eval(), build("cifar:resnet8", 0.75)
    for module in dropped.modules():
        module.train(module is dropped.backbone)  # whose flag dropout reads; batch statistics stay
    with torch.no_grad(), capture(plain, plain.features) as whole, capture(dropped, dropped.features) as seen:
        plain(**plain.example(64))
        dropped(**plain.example(64))
    kept = seen[PENULTIMATE] != 0
    torch.testing.assert_close(seen[PENULTIMATE][kept], 4 * whole[PENULTIMATE][kept])
    positive = whole[PENULTIMATE] > 0
    assert abs(float(kept[positive].float().mean()) - 0.25) < 0.06  # 4 standard deviations of about 900


@pytest.mark.parametrize("share", [1, -0.1, "0.2", True])
def test_a_share_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(UsageError, match=r"model cifar:resnet8: options .*dropout: a probability below 1"):
        build_model(ModelSpec(model="cifar:resnet8", options={"dropout": share}), toys.info(), base=Path())
