"""Which weights decay: as papers have it where nothing is said, else what `undecayed` names does not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from compactor.models.build import build_model
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import ModelSpec
from compactor.trainer.optimizer import TrainOnly, make_optimizer, norm_parameters
from tests import toys
from tests.compactor.trainer.test_fit import ONE_STEP, train


class _OwnRms(nn.Module):
    """Derives from no norm of torch's, as some of timm's and transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


_OwnRms.__name__ = "T5LayerNorm"


class _Renamed(nn.BatchNorm2d):
    """A sub-class by another name."""


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.batch = nn.BatchNorm2d(4)
        self.sub = _Renamed(4)
        self.layer, self.group, self.rms = nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4)
        self.instance, self.own = nn.InstanceNorm2d(4, affine=True), _OwnRms()
        self.scale = nn.Parameter(torch.ones(4))
        self.linear = nn.Linear(4, 2)


NORMS = {
    f"{name}.{part}" for name in ("batch", "sub", "layer", "group", "instance") for part in ("weight", "bias")
}
NORMS |= {"rms.weight", "own.weight"}
VECTORS = NORMS | {"conv.bias", "linear.bias", "scale"}
ALL = VECTORS | {"conv.weight", "linear.weight"}


def decays(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, float]:
    """The weight decay of every parameter that the optimiser has."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {
        names[id(one)]: group["weight_decay"]
        for group in optimizer.param_groups
        for one in group["params"]
        if id(one) in names
    }


@pytest.mark.parametrize(
    ("settings", "undecayed"),
    [
        ({"optimizer": "sgd"}, set()),
        ({"optimizer": "adamw"}, VECTORS),
        ({"optimizer": "sgd", "undecayed": "none"}, set()),
        ({"optimizer": "adamw", "undecayed": "none"}, set()),
        ({"optimizer": "sgd", "undecayed": "norms"}, NORMS),
        ({"optimizer": "adamw", "undecayed": "norms"}, NORMS),
        ({"optimizer": "sgd", "undecayed": "vectors"}, VECTORS),
        ({"optimizer": "adamw", "undecayed": "vectors"}, VECTORS),
    ],
)
def test_what_is_named_has_no_weight_decay(settings: dict[str, Any], undecayed: set[str]) -> None:
    net = _Net()
    found = decays(make_optimizer(toys.stage(weight_decay=0.25, **settings), net, []), net)
    assert found == {name: 0.0 if name in undecayed else 0.25 for name in ALL}


@pytest.mark.slow  # torch's own load its compiler
@pytest.mark.parametrize(
    ("settings", "theirs", "arguments"),
    [
        ({"optimizer": "sgd", "momentum": 0.5}, torch.optim.SGD, {"momentum": 0.5}),
        ({"optimizer": "adamw"}, torch.optim.AdamW, {"fused": True}),
    ],
)
def test_steps_are_those_of_torchs_own_optimiser_bit_for_bit(
    settings: dict[str, Any], theirs: Any, arguments: dict[str, Any]
) -> None:
    stage, found = toys.stage(lr=0.1, **settings), []
    for own in (True, False):
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        optimizer = make_optimizer(stage, net, [])
        if not own:
            optimizer = theirs(optimizer.param_groups, lr=0.1, **arguments)
        for _ in range(3):
            net(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
        found.append([*net.parameters()])
    for ours, plain in zip(*found, strict=True):
        assert torch.equal(ours, plain)


def test_frozen_weights_are_in_no_group() -> None:
    net = _Net()
    net.batch.requires_grad_(False)
    found = decays(make_optimizer(toys.stage(undecayed="norms"), net, []), net)
    assert found.keys() == ALL - {"batch.weight", "batch.bias"}


def test_norms_of_timm_and_transformers_are_known() -> None:
    from timm.layers import BatchNormAct2d, GroupNorm1, LayerNorm2d, RmsNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    net = nn.Sequential(BatchNormAct2d(4), GroupNorm1(4), LayerNorm2d(4), RmsNorm(4), LlamaRMSNorm(4))
    assert len(norm_parameters(net)) == len(list(net.parameters())) == 8


def test_affine_weights_of_a_timm_mobilenet() -> None:
    net = build_model(ModelSpec(model="timm:mobilenetv3_small_050"), toys.info(32), base=Path())
    found = decays(make_optimizer(toys.stage(undecayed="norms", weight_decay=1e-5), net, []), net)
    plain = {name for name, decay in found.items() if not decay}
    assert plain == {name for name, one in net.named_parameters() if one.dim() < 2 and ".bn" in name}
    assert {name for name in found if name.endswith("bias")} - plain  # of squeeze-excite and the classifier


def test_one_step_leaves_norms_undecayed(tmp_path: Path) -> None:
    """Two trainings that differ in weight decay alone, for one step of plain SGD."""

    def stepped(name: str, **settings: Any) -> dict[str, torch.Tensor]:
        model = ModelSpec(model="cifar:resnet8", options={"width": 4})
        student = build_model(model, toys.info(), base=tmp_path)
        train(tmp_path / name, student=student, stage=toys.stage(**ONE_STEP | settings), n=25)
        return dict(student.named_parameters())

    before = dict(
        build_model(
            ModelSpec(model="cifar:resnet8", options={"width": 4}), toys.info(), base=tmp_path
        ).named_parameters()
    )
    plain = stepped("plain")
    decayed = stepped("decayed", weight_decay=0.5, undecayed="norms")
    for name, value in decayed.items():
        expected = plain[name] if ".bn" in name else plain[name] - 0.05 * 0.5 * before[name]
        torch.testing.assert_close(value, expected)


def test_a_module_beside_the_student_decays_only_where_it_is_trained_as_the_student() -> None:
    student, beside = nn.Linear(2, 2), _Net()
    stage = toys.stage(undecayed="norms", weight_decay=0.25, lr=0.1)
    for as_student, plain in ((False, ALL), (True, NORMS)):
        optimizer = make_optimizer(stage, student, [TrainOnly(beside, None, as_student)])
        assert decays(optimizer, beside) == {name: 0.0 if name in plain else 0.25 for name in ALL}
        assert {(group["base_lr"], group["scheduled"]) for group in optimizer.param_groups} == {(0.1, True)}
    rated = make_optimizer(stage, student, [TrainOnly(beside, 0.3)]).param_groups[-1]
    assert (rated["base_lr"], rated["scheduled"]) == (0.3, False)


def test_what_is_absent_from_a_recipe_is_absent_from_keys() -> None:
    assert "undecayed" not in msgspec.to_builtins(load_recipe("digits").recipe.stages[0])
    said = load_recipe("digits", ["stages.0.undecayed=norms"]).recipe.stages[0]
    assert msgspec.to_builtins(said)["undecayed"] == "norms"


def test_a_setting_without_effect_warns() -> None:
    with pytest.warns(UserWarning, match=r"stages\.0\.undecayed has no effect where weight_decay is 0"):
        load_recipe("digits", ["stages.0.undecayed=norms", "stages.0.weight_decay=0"])


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_that_of_the_papers(nesterov: bool) -> None:
    """g + wd w, v = m v + g, w -= lr (g + m v with Nesterov's rule, else v), over two steps in float64."""
    net = nn.Linear(3, 2, bias=False).double()
    weight, velocity = net.weight.detach().clone(), torch.zeros(2, 3, dtype=torch.float64)
    made = make_optimizer(toys.stage(lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01), net, [])
    for gradient in (torch.ones(2, 3).double(), torch.arange(6.0).view(2, 3).double()):
        net.weight.grad = gradient.clone()
        made.step()
        decayed = gradient + 0.01 * weight
        velocity = 0.9 * velocity + decayed
        weight = weight - 0.1 * (decayed + 0.9 * velocity if nesterov else velocity)
        torch.testing.assert_close(net.weight.detach(), weight)
