"""The classes of trained models in the order of the data's: heads permuted, renewed or refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.stated_classes import names_in_config, stated_classes, told_classes
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import CLASSES, bert_folder, text_info  # light, music, time

SHOUTED = ["TIME", "Light", "MUSIC"]


def bert(tmp_path: Path, names: list[str]) -> str:
    bert_folder(tmp_path / "bert", num_labels=len(names), id2label=dict(enumerate(names)))
    return f"hf:{tmp_path / 'bert'}"


def built(model: str, info: DataInfo, trains: bool = False, **keys: object) -> Student:
    spec = ModelSpec(model=model, weights="pretrained", **keys)  # type: ignore[arg-type]
    return build_model(spec, info, base=Path.cwd(), trains=trains).eval()


def test_a_head_is_put_in_the_data_s_order_and_kept_so(tmp_path: Path) -> None:
    model, info = bert(tmp_path, SHOUTED), text_info(tmp_path)
    found = built(model, info)
    from transformers import BertForSequenceClassification

    original = BertForSequenceClassification.from_pretrained(tmp_path / "bert").eval()
    batch = found.example()
    logits = original(**batch).logits  # TIME, Light, MUSIC
    torch.testing.assert_close(found(**batch)["label"], logits[:, [1, 2, 0]])
    assert "light" in found.class_note
    assert "another order" in found.class_note
    save_model(found, ModelSpec(model=model, weights="pretrained"), tmp_path / "kept")
    again = load_model_folder(tmp_path / "kept")
    torch.testing.assert_close(again(**batch)["label"], logits[:, [1, 2, 0]])
    assert again.class_note == ""  # it is in order by now


def test_aliases_and_a_subset(tmp_path: Path) -> None:
    info = text_info(tmp_path)
    model = bert(tmp_path, ["sound", "lamp", "clock", "weather"])
    aliases = {"sound": "music", "lamp": "light", "clock": "time"}
    with pytest.raises(UsageError, match=r"other classes apart \(sound, .* set classes: subset"):
        built(model, info)
    found = built(model, info, aliases=aliases, classes="subset")
    batch = found.example()
    whole = built(model, text_info(tmp_path, classes=["sound", "lamp", "clock", "weather"]))(**batch)["label"]
    torch.testing.assert_close(found(**batch)["label"], whole[:, [1, 0, 2]])
    with pytest.raises(UsageError, match="it has no class 'bell'"):
        built(model, info, aliases={"bell": "music"})
    with pytest.raises(UsageError, match="the data has no class 'noise'"):
        built(model, info, aliases={"sound": "noise"})


def test_other_classes_are_refused_or_get_a_new_head(tmp_path: Path) -> None:
    model, info = bert(tmp_path, ["yes", "no", "maybe"]), text_info(tmp_path)
    with pytest.raises(UsageError, match=r"other classes apart \(yes, no, maybe \(3\)\) than the data have"):
        built(model, info)
    pupil = built(model, info, trains=True)
    assert sorted(pupil.untrained) == ["classifier.bias", "classifier.weight"]
    assert "new last layer" in pupil.class_note
    body = dict(pupil.backbone.named_parameters())
    kept = built(model, text_info(tmp_path, classes=["yes", "no", "maybe"])).backbone.state_dict()
    same = [name for name, value in body.items() if torch.equal(value, kept[name])]
    assert {name for name in body if name not in same} == {"model.classifier.weight"}  # a bias is 0 anyway


def test_classes_that_differ_in_case_alone_stay_apart(tmp_path: Path) -> None:
    names = ["c", "C++", "C", "C#"]
    model = bert(tmp_path, names)
    found = built(model, text_info(tmp_path, classes=["C", "C#", "C++", "c"]))
    batch = found.example()
    whole = built(model, text_info(tmp_path, classes=names))(**batch)["label"]
    torch.testing.assert_close(found(**batch)["label"], whole[:, [2, 3, 1, 0]])
    with pytest.raises(UsageError, match="cannot be told apart by name"):
        built(model, text_info(tmp_path, classes=["C ", "C# ", "C++ ", "c "]))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"architectures": ["BertModel"], "id2label": {"0": "a"}}, None),
        ({"architectures": ["BertForMaskedLM"]}, None),
        ({"architectures": ["BertForSequenceClassification"]}, ["LABEL_0", "LABEL_1"]),
        ({"architectures": ["XForImageClassification"], "id2label": {"10": "k", "2": "b"}}, ["b", "k"]),
    ],
)
def test_what_a_configuration_names(config: dict[str, object], names: list[str] | None) -> None:
    assert names_in_config(config) == names


def test_what_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    model, info = bert(tmp_path, SHOUTED), text_info(tmp_path)
    (tmp_path / "bert" / "model.safetensors").write_bytes(b"")  # nobody reads it
    spec = ModelSpec(model=model, weights="pretrained")
    assert stated_classes(spec, tmp_path) == SHOUTED
    assert "in another order" in told_classes(spec, info, tmp_path, trains=False)
    assert told_classes(ModelSpec(model=model), info, tmp_path, trains=True) == ""  # a random start
    other = text_info(tmp_path, classes=["a", "b"])
    assert "new last layer" in told_classes(spec, other, tmp_path, trains=True)
    with pytest.raises(UsageError, match="tell other classes apart"):
        told_classes(spec, other, tmp_path, trains=False)
    unnamed = ModelSpec(model="cifar:resnet8", weights="x.safetensors")
    assert "do not name their classes" in told_classes(unnamed, toys.info(), tmp_path, trains=False)
    made_up = bert(tmp_path / "second", [f"LABEL_{number}" for number in range(len(CLASSES))])
    told = told_classes(ModelSpec(model=made_up, weights="pretrained"), info, tmp_path, trains=False)
    assert "taken in the data's order" in told


def state_of(info: DataInfo, name: str = "cifar:resnet8") -> dict[str, torch.Tensor]:
    model = build_model(ModelSpec(model=name), info, base=Path.cwd(), seed=3)
    return {key: value.contiguous() for key, value in model.backbone.state_dict().items()}


def test_weights_of_other_classes_start_a_training_with_a_new_last_layer(tmp_path: Path) -> None:
    many = toys.info(classes=[f"class {number}" for number in range(1000)])
    state = state_of(many)
    save_file(state, tmp_path / "published.safetensors")
    spec = ModelSpec(model="cifar:resnet8", weights="published.safetensors")
    with pytest.raises(UsageError, match=r"do not fit .* 1000 classes apart and the data have 3: train it"):
        build_model(spec, toys.info(), base=tmp_path)
    pupil = build_model(spec, toys.info(), base=tmp_path, trains=True)
    assert sorted(pupil.untrained) == ["linear.bias", "linear.weight"]
    assert "1000 classes are not the data's" in pupil.class_note
    ours = pupil.backbone.state_dict()
    assert all(torch.equal(ours[name], state[name]) for name in state if not name.startswith("linear"))
    fresh = build_model(ModelSpec(model="cifar:resnet8"), toys.info(), base=tmp_path)
    assert torch.equal(ours["linear.weight"], fresh.backbone.state_dict()["linear.weight"])
    same = build_model(spec, many, base=tmp_path, trains=True)
    assert same.untrained == []
    assert torch.equal(same.backbone.state_dict()["linear.weight"], state["linear.weight"])


@pytest.mark.parametrize("prefix", ["module.", "state_dict.", "state_dict.module.", "model._orig_mod."])
def test_a_shared_prefix_is_taken_off_and_said(tmp_path: Path, prefix: str) -> None:
    state = state_of(toys.info())
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "x.safetensors")
    model = build_model(ModelSpec(model="cifar:resnet8", weights="x.safetensors"), toys.info(), base=tmp_path)
    assert f"{prefix!r} was taken off" in model.class_note
    assert all(torch.equal(value, state[name]) for name, value in model.backbone.state_dict().items())


def test_a_prefix_that_only_some_weights_have_is_none(tmp_path: Path) -> None:
    state = state_of(toys.info())
    mixed = {
        ("module." if number else "other.") + name: value
        for number, (name, value) in enumerate(state.items())
    }
    save_file(mixed, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="of another architecture"):
        build_model(ModelSpec(model="cifar:resnet8", weights="x.safetensors"), toys.info(), base=tmp_path)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    state = state_of(toys.info())
    state["layer1.0.conv1.weight"][0, 0, 0, :2] = torch.tensor([float("nan"), float("inf")])
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(
        UsageError, match=r"x.safetensors: 2 of 2,304 values of layer1\.0\.conv1\.weight are not"
    ):
        build_model(ModelSpec(model="cifar:resnet8", weights="x.safetensors"), toys.info(), base=tmp_path)


@pytest.mark.parametrize("name", ["best.pth", "best.pt", "pytorch_model.bin", "last.ckpt"])
def test_a_pickled_checkpoint_is_explained_and_never_opened(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(
        UsageError, match=r"is a pickled checkpoint, expected safetensors; convert it once"
    ) as no:
        build_model(ModelSpec(model="cifar:resnet8", weights=name), toys.info(), base=tmp_path)
    state = state_of(toys.info())
    torch.save({"state_dict": state} if name == "last.ckpt" else state, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(str(no.value).split('"')[1], {})  # the command that the message gives
    converted = str(Path(name).with_suffix(".safetensors"))
    model = build_model(ModelSpec(model="cifar:resnet8", weights=converted), toys.info(), base=tmp_path)
    assert torch.equal(model.backbone.state_dict()["linear.weight"], state["linear.weight"])
