"""timm: sizes that a model takes, the classes of its published weights, and which weights are new."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from compactor.models.build import build_model
from compactor.models.timm_models import published_classes
from compactor.propose.models import Named
from compactor.recipe.spec import ModelSpec
from compactor.records import IMAGES, DataInfo, ImageInfo
from compactor.release.model_info import class_names
from compactor_runtimes.errors import UsageError


def info(side=32, classes=("a", "b"), channels=3):
    return DataInfo(IMAGES, {"label": list(classes)}, ImageInfo(side, side, channels))


def build(name, data, trains=True, **settings):
    return build_model(ModelSpec(model=f"timm:{name}", **settings), data, base=Path(), trains=trains)


SMALL = {"depth": 1, "embed_dim": 24, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "options", "side", "size"),
    [
        ("vit_tiny_patch16_224", SMALL, 32, (224, 224)),
        ("vit_tiny_patch16_224", SMALL, 224, None),
        ("vit_tiny_patch16_224", SMALL | {"img_size": 64}, 32, (64, 64)),
        ("vit_tiny_patch16_224", SMALL | {"img_size": 32}, 32, None),
        ("vit_tiny_patch16_224", SMALL | {"dynamic_img_size": True}, 32, None),
        ("levit_128s", {}, 64, (224, 224)),  # no patch_embed that says it
        ("resnet10t", {}, 8, None),
        pytest.param(
            "inception_v3", {}, 32, (299, 299), marks=pytest.mark.slow
        ),  # not fixed, but a smallest one
    ],
)
def test_a_model_that_does_not_take_the_datas_size_resizes_to_its_own(name, options, side, size):
    model = build(name, info(side), options=options)
    assert model.size == size
    with torch.no_grad():
        assert model.eval()(**model.example(1))["label"].shape == (1, 2)
    assert model.inputs[0].axes == ["batch", 3, side, side]
    said = f"it resizes images of {side} x {side} pixels to {size[0]} x {size[1]} within" if size else ""
    assert model.size_note == said


def test_trying_a_size_leaves_the_module_in_its_mode():
    model = build("vit_tiny_patch16_224", info(), options=SMALL)
    assert all(module.training for module in model.backbone.modules())


def test_a_size_that_fits_neither_way_is_refused_in_one_sentence():
    options = SMALL | {"patch_size": 15}  # 224 / 15 leaves a rest, so its own size fails as well as ours
    options |= {"dynamic_img_size": True}
    model = build("vit_tiny_patch16_224", info(30), options=options)
    assert model.size is None
    with pytest.raises(UsageError, match=r"takes no images of 32 x 32 pixels \(.*\); set data.image_size"):
        build("vit_tiny_patch16_224", info(32), options=options)


CONFIG = timm.get_pretrained_cfg("resnet10t").to_dict()


@pytest.mark.parametrize(
    ("ours", "place", "name"),
    [
        (["n01443537", "n01440764"], 0, "n01440764"),
        (["Goldfish", "TENCH"], 0, "TENCH"),
        (["Tinca tinca", "goldfish"], 0, "Tinca tinca"),
        (["tench, Tinca tinca", "n01443537"], 0, "tench, Tinca tinca"),
        (["0", "1"], 0, "tench"),
        (["crane", "x"], 134, "crane (n02012849)"),  # a bird and a machine: which is meant is not known
        (["n02012849", "x"], 134, "n02012849"),
        (["maillot", "x"], 638, "maillot"),  # all of one class's words, and one of another's
    ],
)
def test_published_classes_are_written_as_the_data_write_them(ours, place, name):
    found = published_classes(CONFIG, ours)
    assert found is not None
    assert (len(found), len(set(found)), found[place]) == (1000, 1000, name)


def test_the_names_that_an_export_without_data_gives_are_the_published_ones():
    names = class_names(Named("timm:resnet10t"), 1000)
    assert published_classes(CONFIG, names) == names


def test_heads_that_are_no_imagenets_have_no_names():
    assert published_classes(CONFIG | {"num_classes": 7}, ["a"]) is None


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Weights of a model of 1,000 classes, as timm would have downloaded them."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    torch.manual_seed(7)
    module = timm.create_model("resnet10t", stem_width=8)
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return module.eval(), {"stem_width": 8, "pretrained_cfg_overlay": {"file": str(path), "source": "file"}}


@pytest.mark.parametrize("classes", [("n01443537", "n01440764"), ("goldfish", "tench")])
def test_a_teacher_of_1000_classes_answers_for_those_of_the_data(published, classes):
    module, options = published
    teacher = build(
        "resnet10t",
        info(classes=classes),
        trains=False,
        weights="pretrained",
        options=options,
        classes="subset",
    ).eval()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = teacher(pixel_values=pixels)["label"]
        expected = module((pixels - teacher.mean) / teacher.std)[:, [1, 0]]
    assert torch.allclose(found, expected, atol=1e-5)
    assert not teacher.untrained


def test_a_teacher_of_other_classes_is_refused(published):
    with pytest.raises(UsageError, match="tell other classes apart"):
        build("resnet10t", info(), trains=False, weights="pretrained", options=published[1])


def test_a_student_of_other_classes_keeps_the_body_and_names_its_new_head(published):
    module, options = published
    student = build("resnet10t", info(), weights="pretrained", options=options)
    assert student.untrained == ["fc.weight", "fc.bias"]
    assert torch.equal(student.backbone.conv1[0].weight, module.conv1[0].weight)
    assert student.backbone.fc.out_features == 2
