"""Models by name: published accuracies, loading and refusing weights, and the model folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec
from compactor.evaluation import split_labels, student_answers
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.models.student import parameter_count
from compactor.recipe.spec import ModelSpec
from compactor.tasks.image_classification import TASK
from compactor_runtimes.errors import IntegrityError, UsageError
from tests import toys

HERE = Path(__file__).parent


@pytest.mark.heavy
@pytest.mark.real_data
def test_a_published_teacher_reproduces_its_accuracy() -> None:
    """All 10,000 test images; one image may fall either way between CPUs."""
    depth, right = 20, 9173
    data = open_dataset(DataSpec(dataset="cifar10"), base=None)
    weights = f"teachers/cifar10_akamaster/resnet{depth}.safetensors"
    model = build_model(ModelSpec(model=f"cifar:resnet{depth}", weights=weights), data.info, base=HERE)
    answers = student_answers(model, TASK.batches(data.report))["label"].argmax(-1)
    assert len(answers) == 10_000
    assert abs(int((answers == split_labels(TASK, data.report)).sum()) - right) <= 1


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)]
)
def test_parameter_counts_are_the_published_ones(depth: int, parameters: int) -> None:
    info = toys.info(32, 3, [str(number) for number in range(10)])
    assert (
        parameter_count(build_model(ModelSpec(model=f"cifar:resnet{depth}"), info, base=HERE)) == parameters
    )


def test_normalisation_is_inside_the_model() -> None:
    """(1/4 - 1/2) / (1/8) = -2 reaches the backbone."""
    model = ImageClassifier(Backbone(nn.Flatten(), [0.5], [0.125]), toys.info(1))
    assert model(torch.full((1, 1, 1, 1), 0.25))["label"].tolist() == [[-2.0]]


def test_recipe_may_replace_the_normalisation() -> None:
    spec = ModelSpec(model="cifar:resnet8", mean=[0.1], std=[0.2])
    model = build_model(spec, toys.info(), base=HERE)
    assert (model.mean.item(), model.std.item()) == (pytest.approx(0.1), pytest.approx(0.2))
    with pytest.raises(UsageError, match=r"mean and std have 3 and 1 values, the images 1 channels"):
        build_model(ModelSpec(model="cifar:resnet8", mean=[0.1] * 3, std=[0.2]), toys.info(), base=HERE)


def test_random_start_depends_on_the_seed_alone() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.rand(3)  # the global generator must not matter, nor be disturbed
        return next(
            build_model(ModelSpec(model="cifar:resnet8"), toys.info(), base=HERE, seed=seed).parameters()
        )

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet20", r"expected FAMILY:NAME"),
        ("cifer:resnet20", r"unknown model family 'cifer'; did you mean 'cifar'\?"),
        ("cifar:resnet21", r"expected resnetD with D = 6n \+ 2"),
        ("timm:resnet18x", r"timm .* has no such model; did you mean 'resnet18"),
        ("module:no_such_module_here:build", r"module 'no_such_module_here' cannot be imported"),
        ("module:tests.toys:nothing", r"has no attribute 'nothing'"),
        ("module:tests.toys:not_a_model", r"returned list, expected a torch.nn.Module"),
        ("module:tests.toys:info", r"cannot be called with num_classes"),
    ],
)
def test_unknown_models(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(ModelSpec(model=model), toys.info(), base=HERE)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    small = build_model(ModelSpec(model="cifar:resnet8"), toys.info(), base=HERE)
    state = {key: value.contiguous() for key, value in small.backbone.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    with pytest.raises(
        UsageError, match=r"of another architecture than CifarResNet: .* missing \(layer1\.1\.bn1\.bias"
    ):
        build_model(
            ModelSpec(model="cifar:resnet20", weights="small.safetensors"), toys.info(), base=tmp_path
        )
    more = toys.info(classes=["a", "b", "c", "d"])
    with pytest.raises(UsageError, match=r"of another shape \(linear\.bias \(3,\) instead of \(4,\)"):
        build_model(ModelSpec(model="cifar:resnet8", weights="small.safetensors"), more, base=tmp_path)


def test_missing_and_damaged_weight_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPACTOR_DATA", str(tmp_path / "data"))
    spec = ModelSpec(model="cifar:resnet8", weights="gone.safetensors")
    with pytest.raises(
        UsageError, match=rf"looked at {tmp_path}/gone.safetensors, {tmp_path}/data/gone.safetensors"
    ):
        build_model(spec, toys.info(), base=tmp_path)
    (tmp_path / "gone.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(UsageError, match=r"cannot be read as safetensors"):
        build_model(spec, toys.info(), base=tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(model="cifar:resnet8", options={"width": 4}),
        ModelSpec(model="timm:resnet10t", options={"stem_width": 8}),
        ModelSpec(model="module:tests.toys:Mlp", options={"hidden": 4}),
    ],
)
def test_model_folder_round_trip(spec: ModelSpec, tmp_path: Path) -> None:
    model = build_model(spec, toys.info(), base=HERE).eval()
    save_model(model, spec, tmp_path / "model")
    again = load_model_folder(tmp_path / "model")
    example = model.example()
    assert torch.equal(model(**example)["label"], again(**example)["label"])
    assert again.info == model.info
    assert set(load_file(tmp_path / "model" / "model.safetensors")) == set(model.backbone.state_dict())
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(IntegrityError, match=r"config.json is missing or damaged"):
        load_model_folder(tmp_path / "model")


def test_an_hf_classifier_of_one_size_resizes_other_images(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(**sizes, image_size=12, patch_size=4, num_channels=1, num_labels=3)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    model = build_model(ModelSpec(model=f"hf:{tmp_path}/vit", weights="pretrained"), toys.info(), base=HERE)
    pixels = model.example()["pixel_values"]
    assert (tuple(pixels.shape[2:]), model.size) == ((8, 8), (12, 12))
    assert model.eval()(pixels)["label"].shape == (2, 3)


def test_hf_classifier_from_a_local_folder(tmp_path: Path) -> None:
    """Saved as transformers does; loaded with its weights and normalisation, and shrunk by options."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    torch.manual_seed(0)
    original = ViTForImageClassification(config).eval()
    original.save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"image_mean": [0.25], "image_std": [0.5]}')
    spec = ModelSpec(model=f"hf:{tmp_path}/vit", weights="pretrained")
    model = build_model(spec, toys.info(), base=HERE).eval()
    pixels = model.example()["pixel_values"]
    torch.testing.assert_close(model(pixels)["label"], original((pixels - 0.25) / 0.5).logits)
    with pytest.raises(
        UsageError, match=r"tell other classes apart \(LABEL_0, .*\(3\)\) than the data have \(a, b \(2\)"
    ):
        build_model(spec, toys.info(classes=["a", "b"]), base=HERE)
    smaller = ModelSpec(model=f"hf:{tmp_path}/vit", options={"hidden_size": 8})
    student = build_model(smaller, toys.info(), base=HERE)
    assert parameter_count(student) < parameter_count(model)
    save_model(student, smaller, tmp_path / "student")
    (tmp_path / "vit" / "config.json").unlink()  # a student's folder must stand alone
    again = load_model_folder(tmp_path / "student")
    assert torch.equal(student.eval()(pixels)["label"], again(pixels)["label"])


def test_deploy_is_what_was_trained() -> None:
    model = toys.classifier().eval()
    (logits,) = model.deploy()(*model.example().values())
    assert torch.equal(logits, model(**model.example())["label"])
    assert {id(value) for value in model.deploy().parameters()} == {id(value) for value in model.parameters()}
    assert np.isfinite(logits.detach().numpy()).all()
