"""Subclasses: the fold by hand, what a model folder keeps, and that what is exported has it too."""

from pathlib import Path

import pytest
import torch
from torch import nn

from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.features import capture
from compactor.models.subclasses import FoldedLinear
from compactor.recipe.spec import ModelSpec
from compactor.records import PENULTIMATE, SUBCLASSES, DataInfo, ImageInfo
from compactor_runtimes.errors import UsageError
from tests import toys

SPEC = ModelSpec(model="cifar:resnet8", options={"width": 4}, subclasses=2)


def test_the_fold_is_the_logarithm_of_a_class_s_summed_exponentials() -> None:
    """z = [1, .5 | -.5, 0]: log(e^1 + e^.5) = 1.474077, log(e^-.5 + e^0) = .474077."""
    layer = nn.Linear(1, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.5, -0.5, 0.0]))
    folded = FoldedLinear(layer, 2)(torch.ones(1, 1))
    torch.testing.assert_close(folded, torch.tensor([[1.474077, 0.474077]]), atol=1e-6, rtol=0)


def test_a_widened_student_answers_with_the_data_s_classes(tmp_path: Path) -> None:
    model = build_model(SPEC, toys.info(channels=3), base=tmp_path)
    wide = model.features[SUBCLASSES]
    assert (wide.width, model.features[PENULTIMATE].side) == (6, "input")
    with capture(model, {"wide": wide}) as seen:
        logits = model(**model.example())["label"]
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, torch.logsumexp(seen["wide"].view(2, 3, 2), -1))
    exported = model.deploy()(*model.example().values())
    torch.testing.assert_close(exported[0], model.eval()(**model.example())["label"])


def test_a_model_folder_keeps_them(tmp_path: Path) -> None:
    model = build_model(SPEC, toys.info(channels=3), base=tmp_path, seed=4).eval()
    save_model(model, SPEC, tmp_path / "student")
    again = load_model_folder(tmp_path / "student")
    torch.testing.assert_close(again(**model.example())["label"], model(**model.example())["label"])
    assert again.features[SUBCLASSES].width == 6


def test_weights_of_plain_classes_give_a_new_last_layer(tmp_path: Path) -> None:
    plain = ModelSpec(model="cifar:resnet8", options={"width": 4})
    save_model(build_model(plain, toys.info(channels=3), base=tmp_path), plain, tmp_path / "plain")
    file = str(tmp_path / "plain" / "model.safetensors")
    started = ModelSpec(model="cifar:resnet8", options={"width": 4}, subclasses=2, weights=file)
    with pytest.raises(UsageError, match=r"scores"):
        build_model(started, toys.info(channels=3), base=tmp_path)


def test_only_one_class_a_sample_has_subclasses(tmp_path: Path) -> None:
    of_labels = DataInfo("image-multi-label", {"labels": toys.CLASSES}, ImageInfo(8, 8, 3))
    with pytest.raises(UsageError, match=r"subclasses 2 found, but task image-multi-label"):
        build_model(SPEC, of_labels, base=tmp_path)
