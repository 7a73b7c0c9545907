"""Features by name: what every family declares is what is captured, and a head makes its logits of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compactor.models import FAMILIES
from compactor.models.build import build_model
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.models.features import Feature, capture
from compactor.models.student import Student, features_named
from compactor.recipe.spec import ModelSpec
from compactor.records import PENULTIMATE, STATES
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import bert_folder, text_info

TINY = {"heads": 2, "dropout": 0.1}


def image(model: str, **options: Any) -> Callable[[Path], Student]:
    return lambda folder: build_model(
        ModelSpec(model=model, options=options), toys.info(32), base=folder, seed=0
    )


def hf_image(folder: Path) -> Student:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=1, num_labels=3)
    ViTForImageClassification(config).save_pretrained(folder / "vit")
    return build_model(ModelSpec(model=f"hf:{folder}/vit", weights="pretrained"), toys.info(), base=folder)


def text(task: str, model: str | None = None, **options: Any) -> Callable[[Path], Student]:
    """A BERT of width 16 where no model is named."""

    def build(folder: Path) -> Student:
        info = text_info(folder, task=task)
        if task in ("intent-slots", "token-classification"):
            classes = {"intent": ["a", "b"], "slot": ["O", "B-x", "I-x"]}
            info = replace(info, classes=classes if task == "intent-slots" else {"slot": classes["slot"]})
        elif task in ("masked-lm", "embedding"):
            info = replace(info, classes={})
        name = model or f"hf:{bert_folder(folder / 'bert')}"
        return build_model(ModelSpec(model=name, options=options), info, base=folder, seed=0)

    return build


def stages(*widths: int) -> dict[str, int]:
    return {f"stage{number}": width for number, width in enumerate(widths, 1)}


BOTH, LAST = [PENULTIMATE, STATES], [STATES]
MODELS = {
    "cifar": (image("cifar:resnet8"), {**stages(16, 32, 64), PENULTIMATE: 64}),
    "cifar, narrow": (image("cifar:resnet8", width=4), {**stages(4, 8, 16), PENULTIMATE: 16}),
    "timm": (image("timm:resnet10t"), {**stages(64, 64, 128, 256, 512), PENULTIMATE: 512}),
    "timm, hidden layer before the head": (
        image("timm:mobilenetv3_small_050"),
        {**stages(16, 8, 16, 24, 288), PENULTIMATE: 1024},
    ),
    "timm, attention": (image("timm:test_vit", img_size=32), {PENULTIMATE: 64}),
    "hf image": (hf_image, {PENULTIMATE: 12}),
    "module, images": (image("module:tests.toys:Mlp", pixels=1024, hidden=5), {PENULTIMATE: 5}),
    "module, texts": (text("text-classification", "module:tests.compactor.text_toys:Bag"), {PENULTIMATE: 6}),
    "hf text-classification": (text("text-classification"), {PENULTIMATE: 16, STATES: 16}),
    "hf embedding": (text("embedding"), {STATES: 16}),
    "hf intent-slots": (text("intent-slots"), {PENULTIMATE: 16, STATES: 16}),
    "hf masked-lm": (text("masked-lm"), {STATES: 16}),
    "encoder text-classification": (
        text("text-classification", "encoder:1x8", **TINY),
        {PENULTIMATE: 8, STATES: 8},
    ),
    "encoder, pre-norm": (
        text("text-classification", "encoder:2x8", norm="pre", **TINY),
        {PENULTIMATE: 8, STATES: 8},
    ),
    "encoder embedding": (text("embedding", "encoder:1x8", **TINY), {STATES: 8}),
    "encoder intent-slots": (text("intent-slots", "encoder:1x8", **TINY), {PENULTIMATE: 8, STATES: 8}),
    "encoder token-classification": (text("token-classification", "encoder:1x8", **TINY), {STATES: 8}),
    "encoder masked-lm": (text("masked-lm", "encoder:1x8", **TINY), {STATES: 8}),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_declared_is_what_is_captured(name: str, tmp_path: Path) -> None:
    """Widths: [B, D], [B, L, D], [B, D, H, W]; and the head's layer on `penultimate` gives the logits."""
    build, widths = MODELS[name]
    model = build(tmp_path).eval()
    features = model.features
    assert {key: one.width for key, one in features.items()} == widths
    inputs = model.example(3)
    with torch.no_grad(), capture(model, features) as seen:
        answers = model(**inputs)
    assert seen.keys() == widths.keys()
    if STATES in seen:
        assert seen[STATES].shape == (*inputs["input_ids"].shape, widths[STATES])
    for key, one in features.items():
        if one.is_map:
            assert seen[key].dim() == 4
            assert seen[key].shape[:2] == (3, one.width)
    if PENULTIMATE in seen:
        assert seen[PENULTIMATE].shape == (3, widths[PENULTIMATE])
        layer = model.get_submodule(features[PENULTIMATE].path)
        assert isinstance(layer, nn.Linear)
        logits = next(iter(answers.values()))
        torch.testing.assert_close(layer(seen[PENULTIMATE]), logits, rtol=0, atol=0)


def test_every_family_is_among_them() -> None:
    """`package:` builds as `hf:` does; a bundle's graph has no inner tensors."""
    tried = {name.partition(" ")[0].rstrip(",") for name in MODELS}
    assert tried == set(FAMILIES) - {"package", "bundle"}


def test_looking_leaves_the_model_as_it_was() -> None:
    """Modes of single modules, running statistics, gradients, hooks and random numbers."""
    model = image("cifar:resnet8", width=4)(Path())
    model.train()
    model.backbone.bn1.eval()
    modes = [one.training for one in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert model.features == {
        "stage1": Feature("backbone.layer1", 4, is_map=True),
        "stage2": Feature("backbone.layer2", 8, is_map=True),
        "stage3": Feature("backbone.layer3", 16, is_map=True),
        PENULTIMATE: Feature("backbone.linear", 16, "input"),
    }
    assert [one.training for one in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(one._forward_hooks for one in model.modules())


class _Doubled(nn.Module):
    """The answer is made of what the linear layer gives, and is not what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.linear(x.flatten(1))


def test_without_a_linear_head_there_is_none() -> None:
    model = ImageClassifier(Backbone(_Doubled(), [0.5], [0.5]), toys.info())
    assert model.features == {}
    with pytest.raises(UsageError) as caught:
        features_named(frozenset({PENULTIMATE}), model, "teacher", at="stage a.options.weight")
    assert str(caught.value) == (
        "stage a.options.weight: compares the feature 'penultimate', which the teacher's _Doubled does not "
        "have (it has none); leave the option out, or name another model"
    )


def test_a_path_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"feature path 'backbone\.tail': ImageClassifier has no such"):
        with capture(toys.classifier(), {"tail": Feature("backbone.tail", 3)}):
            pass


def test_a_stated_map_that_is_none_is_left_out() -> None:
    """No such module, vectors, and channels in the last dimension, as of some of timm's models."""

    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.movedim(1, -1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last, self.head = nn.Conv2d(1, 5, 1), Last(), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.conv(x)).mean((1, 2)))

    maps = {
        "stage1": Feature("conv", 5, is_map=True),
        "stage2": Feature("last", 5, is_map=True),
        "stage3": Feature("head", 3, is_map=True),
        "stage4": Feature("gone", 5, is_map=True),
    }
    model = ImageClassifier(Backbone(Net(), [0.5], [0.5], maps=maps), toys.info())
    assert model.features == {
        "stage1": Feature("backbone.conv", 5, is_map=True),
        PENULTIMATE: Feature("backbone.head", 5, "input"),
    }
