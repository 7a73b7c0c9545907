"""Encoders by size and encoders with heads: shapes, tied weights, padding, model folders, graphs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from compactor.models.build import build_model, load_encoder, load_model_folder, save_model
from compactor.models.heads import DropoutLinear, pool
from compactor.models.student import parameter_count
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo
from compactor_exporters import Workspace, export_artifact
from compactor_exporters.graph.checks import check_ports
from compactor_runtimes.backends.ort import open_cpu as open_ort
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import UsageError
from tests.compactor.models.test_text_models import source_of
from tests.compactor.text_toys import CLASSES, IDS, bert_folder, text_info
from tests.file_modes import EXPECTED, modes, umask

TASKS: dict[str, dict[str, list[str]]] = {
    "masked-lm": {},
    "intent-slots": {"intent": ["play", "light"], "slot": ["O", "B-room", "I-room"]},
    "token-classification": {"slot": ["O", "B-room", "I-room"]},
    "text-classification": {"label": CLASSES},
    "embedding": {"label": CLASSES},
}
NORMS = ("post", "pre")
every_norm = pytest.mark.parametrize("norm", NORMS)


def info_of(folder: Path, task: str = "intent-slots", max_tokens: int = 12) -> DataInfo:
    return replace(text_info(folder, task=task, max_tokens=max_tokens), classes=TASKS[task])


def build(model: str, info: DataInfo, *, seed: int = 0, weights: str | None = None, **options: Any) -> Any:
    spec = ModelSpec(model=model, weights=weights, options=options)
    return build_model(spec, info, base=Path("/nowhere"), seed=seed).eval()


def test_a_post_norm_encoder_is_bert(tmp_path: Path) -> None:
    from transformers import BertModel

    model = build("encoder:2x32", info_of(tmp_path, "embedding"), heads=2, pooling="cls")
    bert = model.backbone.encoder.model
    assert type(bert) is BertModel
    assert bert.pooler is None
    assert bert.config.hidden_act == "gelu"
    # 16 words, 12 positions and 1 token type, each of width 32, and a LayerNorm of 2 x 32
    assert parameter_count(bert.embeddings) == (16 + 12 + 1) * 32 + 64
    assert float(bert.encoder.layer[0].intermediate.dense.weight.detach().std()) == pytest.approx(
        0.02, rel=0.05
    )
    batch = model.example()
    torch.testing.assert_close(model(**batch)["embedding"], bert(**batch).last_hidden_state[:, 0])


def test_a_pre_norm_encoder_is_the_formula_of_its_paper(tmp_path: Path) -> None:
    """x + A(LN(x)), x + F(LN(x)), a last LayerNorm; embeddings are a plain sum, positions count from 0."""
    model = build("encoder:2x32", info_of(tmp_path, "embedding"), heads=2, norm="pre", pooling="cls")
    bert = model.backbone.encoder.model
    ids = torch.tensor([[2, 5, 0, 3]])  # an id of padding amid the text moves no position
    tables = bert.embeddings
    x = (
        tables.word_embeddings.weight[ids[0]]
        + tables.position_embeddings.weight[:4]
        + tables.token_type_embeddings.weight[0]
    )
    for layer in bert.encoder.layer:
        found, attention = layer.attention.LayerNorm(x), layer.attention.self
        q, k, v = (
            getattr(attention, name)(found).view(4, 2, 16).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        mixed = torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v
        x = x + layer.attention.output.dense(mixed.transpose(0, 1).reshape(4, 32))
        x = x + layer.output.dense(F.gelu(layer.intermediate.dense(layer.intermediate.LayerNorm(x))))
    torch.testing.assert_close(model(ids, torch.ones_like(ids))["embedding"][0], bert.LayerNorm(x)[0])
    assert not list(tables.LayerNorm.parameters())
    assert float(tables.word_embeddings.weight.detach()[1:].std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("width", "heads"), [(512, 8), (256, 4), (192, 6), (128, 4), (288, 9), (32, 1), (20, 1)]
)
def test_default_heads_are_64_wide_from_256_on_else_32(width: int, heads: int, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build(f"encoder:1x{width}", info_of(tmp_path))
    assert model.backbone.encoder.model.config.num_attention_heads == heads
    assert model.backbone.encoder.model.config.intermediate_size == 4 * width


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("encoder:0x32", {}, r"expected encoder:LxD with L layers of width D, such as encoder:4x256"),
        ("encoder:tiny", {}, r"expected encoder:LxD"),
        (
            "encoder:1x32",
            {"head": 1},
            r"options\.head: unknown option; did you mean 'heads'\? known: dropout",
        ),
        (
            "encoder:1x32",
            {"heads": 3},
            r"3 heads do not divide its width 32; set options\.heads to a divisor",
        ),
        ("encoder:1x100", {}, r"3 heads do not divide its width 100"),
        ("encoder:1x32", {"heads": 0}, r"encoder:1x32: options\.heads: Expected int >= 1"),
        ("encoder:1x32", {"norm": "none"}, r"options\.norm: Invalid enum value 'none'"),
        ("encoder:1x32", {"dropout": 1}, r"options\.dropout: Expected float < 1"),
        ("encoder:1x32", {"positions": 8}, r"has 8 positions, data\.max_tokens is 12"),
    ],
)
def test_sizes_and_options_without_meaning(
    model: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        build(model, info_of(tmp_path), **options)


def test_families_refuse_what_they_cannot_be(tmp_path: Path) -> None:
    from tests import toys

    with pytest.raises(UsageError, match=r"has no weights of its own; give weights: FILE"):
        build("encoder:1x32", info_of(tmp_path), weights="pretrained")
    with pytest.raises(UsageError, match=r"encoder:1x32: reads texts, the task is image-classification"):
        build("encoder:1x32", toys.info())
    for task in ("masked-lm", "intent-slots", "token-classification"):
        with pytest.raises(
            UsageError, match=rf"answer once a text, the task is {task}; name a model of family"
        ):
            build("module:tests.compactor.text_toys:Bag", info_of(tmp_path, task))


@every_norm
def test_padding_changes_nothing(norm: str, tmp_path: Path) -> None:
    ids = torch.tensor([[2, 5, 6, 3]])
    padded = torch.tensor([[2, 5, 6, 3, 0, 0, 0]])
    for pooling in ("cls", "mean", "max"):
        model = build("encoder:2x32", info_of(tmp_path), norm=norm, pooling=pooling)
        short, long = model(ids, torch.ones_like(ids)), model(padded, (padded > 0).long())
        torch.testing.assert_close(long["intent"], short["intent"], atol=1e-5, rtol=0)
        torch.testing.assert_close(long["slot"][:, :4], short["slot"], atol=1e-5, rtol=0)
    model, places = build("encoder:2x32", info_of(tmp_path, "masked-lm"), norm=norm), torch.tensor([1, 2])
    short, long = model(ids, torch.ones_like(ids), places), model(padded, (padded > 0).long(), places)
    torch.testing.assert_close(long["mlm"], short["mlm"], atol=1e-5, rtol=0)


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    found = {pooling: pool(hidden, mask, pooling).tolist() for pooling in ("cls", "mean", "max")}
    assert found == {"cls": [[1.0, -5.0]], "mean": [[2.0, -6.0]], "max": [[3.0, -5.0]]}


def test_heads_drop_out_in_training_only() -> None:
    torch.manual_seed(0)
    head = DropoutLinear(1000, 2, 0.25)
    head.weight.data.fill_(1)
    ones = torch.ones(1, 1000)
    assert head.eval()(ones).tolist() == [[1000, 1000]]
    first, second = head.train()(ones)[0].tolist()
    kept = first * 0.75  # what is kept is divided by 1 - 0.25; both classes read the same
    assert kept == pytest.approx(second * 0.75, abs=0.1) == pytest.approx(round(kept), abs=0.1)
    assert kept == pytest.approx(750, abs=70)  # 5 deviations of a binomial of 1000


@every_norm
def test_masked_tokens_are_guessed_with_the_encoders_own_embeddings(norm: str, tmp_path: Path) -> None:
    model = build("encoder:1x32", info_of(tmp_path, "masked-lm"), norm=norm)
    assert [name for name in model.state_dict() if name.startswith("backbone.heads")] == [
        f"backbone.heads.mlm.{name}"
        for name in ("decoder_bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias")
    ]
    table = "backbone.encoder.model.embeddings.word_embeddings.weight"
    assert [name for name, value in model.state_dict().items() if value.shape == (IDS, 32)] == [table]
    assert dict(model.named_parameters()).keys() == model.state_dict().keys()
    batch = model.example(3)
    logits = model(**batch)["mlm"]
    assert logits.shape == (len(batch["positions"]), IDS)
    # a word that is in no text: only the head can reach its row
    absent = next(one for one in range(1, IDS) if one not in batch["input_ids"])
    logits[:, absent].sum().backward()
    gradient = dict(model.named_parameters())[table].grad
    assert gradient[absent].abs().sum() > 0
    head, words = model.backbone.heads["mlm"], dict(model.named_parameters())[table]
    hidden = model.backbone.encoder(batch["input_ids"], batch["attention_mask"])
    by_hand = head.norm(F.gelu(head.dense(hidden))) @ words.T + head.decoder_bias
    expected = by_hand.reshape(-1, IDS)[batch["positions"]]  # gathered after the vocabulary: the same numbers
    torch.testing.assert_close(logits, expected)


def test_masked_lm_ports(tmp_path: Path) -> None:
    model = build("encoder:1x32", info_of(tmp_path, "masked-lm"))
    assert [(port.name, port.axes, port.max) for port in model.inputs] == [
        ("input_ids", ["batch", "tokens"], [64, 12]),
        ("attention_mask", ["batch", "tokens"], [64, 12]),
        ("positions", ["positions"], [64 * 12]),
    ]
    assert [(port.name, port.axes, port.labels) for port in model.outputs] == [
        ("mlm_logits", ["positions", IDS], "mlm")
    ]
    # 8 tokens in the first text, 4 in the second, every second one of these
    assert model.example()["positions"].tolist() == [0, 2, 4, 6, 8, 10]
    assert model.untrained == []


def test_intent_slots_ports_and_heads(tmp_path: Path) -> None:
    model = build("encoder:1x32", info_of(tmp_path))
    assert [(port.name, port.axes, port.labels) for port in model.outputs] == [
        ("intent_logits", ["batch", 2], "intent"),
        ("slot_logits", ["batch", "tokens", 3], "slot"),
    ]
    batch = model.example(3)
    found, heads = model(**batch), model.backbone.heads
    hidden = model.backbone.encoder(**batch)
    torch.testing.assert_close(
        found["intent"], hidden[:, 0] @ heads["intent"].weight.T + heads["intent"].bias
    )
    torch.testing.assert_close(found["slot"], hidden @ heads["slot"].weight.T + heads["slot"].bias)
    deployed = model.deploy()(*batch.values())
    assert [one.shape for one in deployed] == [(3, 2), (3, 8, 3)]
    assert not any("pooler" in name for name in model.state_dict())
    tagger = build("encoder:1x32", info_of(tmp_path, "token-classification"))
    assert [port.name for port in tagger.outputs] == ["slot_logits"]
    assert {name: answer.shape for name, answer in tagger(**batch).items()} == {"slot": (3, 8, 3)}


def test_random_starts_depend_on_the_seed_alone(tmp_path: Path) -> None:
    info = info_of(tmp_path)
    one, same, other = (build("encoder:1x32", info, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    for key in ("backbone.heads.slot.weight", "backbone.encoder.model.encoder.layer.0.output.dense.weight"):
        assert not torch.equal(one[key], other[key])


@pytest.mark.parametrize("mask", EXPECTED)
def test_files_of_a_model_folder_respect_the_umask(mask: int, tmp_path: Path) -> None:
    spec = ModelSpec(model="encoder:1x16")
    model = build_model(spec, info_of(tmp_path / "data", next(iter(TASKS))), base=tmp_path)
    with umask(mask):
        save_model(model, spec, tmp_path / "saved")
    assert modes(tmp_path / "saved") == EXPECTED[mask]


@every_norm
@pytest.mark.parametrize("task", TASKS)
def test_model_folder_stands_alone(task: str, norm: str, tmp_path: Path) -> None:
    spec = ModelSpec(model="encoder:2x32", options={"norm": norm, "positions": 30, "intermediate": 40})
    model = build_model(spec, info_of(tmp_path / "data", task), base=tmp_path).eval()
    save_model(model, spec, tmp_path / "saved")
    again = load_model_folder(tmp_path / "saved")
    batch = model.example()
    for head, answer in model(**batch).items():
        assert torch.equal(again(**batch)[head], answer)
    config = again.backbone.encoder.model.config
    assert (config.max_position_embeddings, config.intermediate_size) == (30, 40)


def test_saved_options_do_not_depend_on_defaults(tmp_path: Path) -> None:
    model = build("encoder:1x64", info_of(tmp_path))
    assert model.backbone.saved_options() == {
        "heads": 2,
        "intermediate": 256,
        "positions": 12,
        "dropout": 0.1,
        "norm": "post",
        "pooling": "cls",
    }


@pytest.mark.parametrize(("task", "head"), [("intent-slots", "intent"), ("masked-lm", "mlm")])
def test_pretrained_encoders_get_new_heads(task: str, head: str, tmp_path: Path) -> None:
    info, folder = info_of(tmp_path, task), bert_folder(tmp_path / "bert", num_labels=3)
    spec = ModelSpec(model=f"hf:{folder}", weights="pretrained", options={"layers": "every-3"})
    model = build_model(spec, info, base=tmp_path).eval()
    assert set(model.untrained) == {
        name.removeprefix("backbone.") for name in model.state_dict() if name.startswith("backbone.heads.")
    }
    assert any(name.startswith(f"heads.{head}.") for name in model.untrained)
    kept = load_file(folder / "model.safetensors")
    for key, value in model.backbone.encoder.model.state_dict().items():
        assert torch.equal(value, kept["bert." + key.replace("layer.1.", "layer.3.")])
    save_model(model, spec, tmp_path / "saved")
    again = load_model_folder(tmp_path / "saved")
    for name, answer in model(**model.example()).items():
        assert torch.equal(again(**model.example())[name], answer)
    assert again.untrained == []
    assert again.backbone.pooling == model.backbone.pooling == "mean"


@pytest.mark.parametrize("task", ["intent-slots", "text-classification", "embedding"])
def test_a_trimmed_vocabulary_is_kept_before_heads_are_made(task: str, tmp_path: Path) -> None:
    name = f"hf:{bert_folder(tmp_path / 'bert', vocab_size=IDS + 9)}"
    info = info_of(tmp_path, task)
    assert info.text is not None
    whole = build(name, info, weights="pretrained")
    kept = [*range(IDS - 1), IDS + 5]
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    trimmed = replace(info, text=replace(info.text, kept=tmp_path / "kept.json"))
    model = build(name, trimmed, weights="pretrained")
    assert torch.equal(next(iter(model.parameters())), next(iter(whole.parameters()))[kept])
    if task == "intent-slots":
        assert model.backbone.saved_options()["config"]["vocab_size"] == IDS


def test_poolings_of_pretrained_encoders(tmp_path: Path) -> None:
    info, folder = info_of(tmp_path), bert_folder(tmp_path / "bert")
    assert build(f"hf:{folder}", info, pooling="max").backbone.pooling == "max"
    with pytest.raises(UsageError, match=r"options\.pooling: got 'last', expected mean or cls or max"):
        build(f"hf:{folder}", info, pooling="last")


def test_embeddings_with_unused_rows_and_another_width(tmp_path: Path) -> None:
    """V is the tokenizer's number of ids; ELECTRA's embeddings are narrower than its states."""
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=IDS + 5,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
    )
    ElectraModel(config).save_pretrained(tmp_path / "electra")
    model = build(f"hf:{tmp_path / 'electra'}", info_of(tmp_path, "masked-lm"))
    batch = model.example()
    assert model(**batch)["mlm"].shape == (len(batch["positions"]), IDS)


def test_an_encoder_goes_from_task_to_task(tmp_path: Path) -> None:
    trained = build("encoder:1x32", info_of(tmp_path, "masked-lm"), seed=1)
    spec = ModelSpec(model="encoder:1x32")
    save_model(trained, spec, tmp_path / "mlm")
    weights = tmp_path / "mlm" / "model.safetensors"
    student = build("encoder:1x32", info_of(tmp_path), seed=2)
    head = student.backbone.heads["intent"].weight.clone()
    load_encoder(student.backbone, weights)
    for key, value in student.backbone.encoder.state_dict().items():
        assert torch.equal(value, trained.backbone.encoder.state_dict()[key])
    assert torch.equal(student.backbone.heads["intent"].weight, head)
    deeper = r"of another architecture than EncoderWithHeads: 16 missing \(encoder\.model\.encoder\.layer\.1"
    with pytest.raises(UsageError, match=deeper):
        load_encoder(build("encoder:2x32", info_of(tmp_path)).backbone, weights)
    with pytest.raises(UsageError, match=r"21 of another shape \(encoder\..*bias \(32,\) instead of \(64,\)"):
        load_encoder(build("encoder:1x64", info_of(tmp_path)).backbone, weights)
    save_file({"encoder.extra": torch.ones(1), **load_file(weights)}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match=r"1 unexpected \(encoder\.extra\)"):
        load_encoder(student.backbone, tmp_path / "more.safetensors")
    bag = build("module:tests.compactor.text_toys:Bag", info_of(tmp_path, "text-classification"))
    with pytest.raises(UsageError, match=r"of a model for another task, and Bag keeps no encoder apart"):
        load_encoder(bag.backbone, weights)
    with pytest.raises(UsageError, match=r"cannot be read as safetensors"):
        load_encoder(student.backbone, tmp_path / "tokenizer.json")


@pytest.mark.slow
@every_norm
def test_traced_graph_takes_any_length_and_batch(norm: str, tmp_path: Path) -> None:
    import onnx

    model = build("encoder:2x32", info_of(tmp_path), norm=norm, pooling="max")
    source = source_of(model, "intent-slots")
    artifact = export_artifact(source, ExportSpec(), Workspace(tmp_path))
    path = tmp_path / artifact.files[0].path
    check_ports(onnx.load(path), source)
    runtime = open_ort(path)
    for batch, tokens in ((1, 2), (3, 12), (5, 7)):
        ids = torch.arange(batch * tokens).view(batch, tokens) % IDS
        mask = torch.ones_like(ids)
        mask[batch // 2, tokens // 2 :] = 0
        expected = model(ids, mask)
        found = runtime.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        for head in ("intent", "slot"):
            np.testing.assert_allclose(found[f"{head}_logits"], expected[head].detach().numpy(), atol=1e-5)
    runtime.close()
