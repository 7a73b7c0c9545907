"""Models cut to a trimmed vocabulary: same hidden states, ties kept, saved and opened again."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from compactor.data.tokenizer import find_tokenizer
from compactor.data.vocabulary import pieces, trim
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.hf.trim import keep_tokens, trim_config
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, TextInfo
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.text import TextPipeline
from tests.compactor.models.test_text_models import MINILM, needs_minilm
from tests.compactor.text_toys import IDS, bert_config, bert_folder, write_tokenizer

TEXTS = ["turn on the living room lights", "wake me at 6:30 tomorrow, please"]
KEPT = [0, 1, 2, 3, 5, 8]


def trimmed_info(folder: Path, task: str = "embedding", kept: list[int] = KEPT) -> DataInfo:
    """A tokenizer of as many ids as `kept` has."""
    path = write_tokenizer(folder / "tokenizer", [f"w{number}" for number in range(len(kept) - 4)])
    (folder / "kept.json").write_text(json.dumps(kept))
    classes = {} if task == "embedding" else {"label": ["a", "b"]}
    return DataInfo(task, classes, text=TextInfo(path, 0, 12, kept=folder / "kept.json"))


def build(model: str, info: DataInfo, *, weights: str | None = "pretrained", **options: object):
    spec = ModelSpec(model=model, weights=weights, options=options)
    return spec, build_model(spec, info, base=Path("/nowhere")).eval()


@needs_minilm
def test_a_trimmed_minilm_has_the_hidden_states_of_the_whole_one(tmp_path: Path) -> None:
    whole = find_tokenizer(MINILM, None)
    found = trim(whole, pieces(whole, TEXTS))
    (tmp_path / "tokenizer.json").write_text(found.to_json(), encoding="utf-8")
    (tmp_path / "kept.json").write_text(json.dumps(found.kept))
    plain = TextInfo(whole, 0, 16)
    small = TextInfo(tmp_path / "tokenizer.json", 0, 16, kept=tmp_path / "kept.json")
    feeds, models = [], []
    for text in (plain, small):
        spec, model = build(MINILM, DataInfo("embedding", {}, text=text))
        pre = TextPre(tokenizer="tokenizer.json", max_tokens=16, pad_id=0)
        batch = TextPipeline(pre, text.tokenizer.parent)(TEXTS)
        feeds.append({name: torch.from_numpy(values) for name, values in batch.items()})
        models.append(model)
    assert not torch.equal(feeds[0]["input_ids"], feeds[1]["input_ids"])
    before, after = (
        model.backbone.model(**feed).last_hidden_state for model, feed in zip(models, feeds, strict=True)
    )
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    assert models[1].vocab_size == len(found.kept) == models[1].backbone.model.config.vocab_size
    count = [sum(one.numel() for one in model.backbone.parameters()) for model in models]
    assert count[0] - count[1] == (30522 - len(found.kept)) * 384
    save_model(models[1], spec, tmp_path / "saved")
    again = load_model_folder(tmp_path / "saved")
    assert again.text.kept is None
    assert (tmp_path / "saved" / "tokenizer.json").read_text(encoding="utf-8") == found.to_json()
    assert torch.equal(again.backbone.model(**feeds[1]).last_hidden_state, after)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_output_layer_and_its_bias_are_cut_together(tied: bool, tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    config = bert_config(vocab_size=IDS, pad_token_id=3, mask_token_id=4, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = BertForMaskedLM(config).eval()
    head = model.cls.predictions
    with torch.no_grad():
        head.bias.copy_(torch.arange(float(IDS)))
    ids = torch.tensor([[2, 5, 8, 3], [2, 8, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).logits
    keep_tokens(model, trimmed_info(tmp_path).text, name="toy")
    new = torch.tensor([[KEPT.index(one) for one in row] for row in ids.tolist()])
    with torch.no_grad():
        after = model(input_ids=new, attention_mask=mask).logits
    torch.testing.assert_close(after, before[..., KEPT])
    words = model.bert.embeddings.word_embeddings
    assert (head.decoder.weight is words.weight) == tied
    assert (head.decoder.bias is head.bias) == tied
    assert head.decoder.bias.shape == (6,)
    assert head.bias.tolist() == [float(one) for one in KEPT]
    assert (words.num_embeddings, words.padding_idx, head.decoder.out_features) == (6, 3, 6)
    assert (model.config.vocab_size, model.config.pad_token_id) == (6, 3)
    assert words.weight.requires_grad
    keep_tokens(model, trimmed_info(tmp_path).text, name="toy")  # once is enough
    assert words.weight.shape == (6, 16)


def test_padding_moves_with_its_token_in_weights_and_configuration(tmp_path: Path) -> None:
    from transformers import BertModel

    text = trimmed_info(tmp_path, kept=[1, 2, 4, 5]).text
    model = BertModel(bert_config(pad_token_id=4, eos_token_id=3))
    keep_tokens(model, text, name="toy")
    assert model.get_input_embeddings().padding_idx == 2
    assert (model.config.pad_token_id, model.config.eos_token_id) == (2, None)
    config = bert_config(pad_token_id=4)
    trim_config(config, text)
    trim_config(config, text)  # the second time, 2 is new already
    assert (config.vocab_size, config.pad_token_id) == (4, 2)


def test_a_model_whose_positions_count_from_its_padding_id_keeps_it(tmp_path: Path) -> None:
    from transformers import MPNetConfig, MPNetModel

    sizes = {key: getattr(bert_config(), key) for key in ("hidden_size", "intermediate_size")}
    config = MPNetConfig(
        vocab_size=12, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=14, **sizes
    )
    assert config.pad_token_id == 1
    keep_tokens(MPNetModel(deepcopy(config)), trimmed_info(tmp_path, kept=[0, 1, 2, 5, 6]).text, name="toy")
    with pytest.raises(
        UsageError, match="model toy: numbers its positions from padding id 1, which becomes 0"
    ):
        keep_tokens(MPNetModel(config), trimmed_info(tmp_path, kept=[1, 2, 5, 6]).text, name="toy")


def test_a_whole_vocabulary_is_left_alone() -> None:
    from transformers import BertModel

    model = BertModel(bert_config(vocab_size=IDS, pad_token_id=3))
    before, rows = deepcopy(model.state_dict()), model.get_input_embeddings()
    keep_tokens(model, TextInfo(Path("x"), 0, 4), name="toy")
    assert model.get_input_embeddings() is rows
    assert (rows.num_embeddings, rows.padding_idx) == (IDS, 3)
    assert (model.config.vocab_size, model.config.pad_token_id) == (IDS, 3)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


@pytest.mark.parametrize("task", ["embedding", "text-classification"])
@pytest.mark.parametrize("weights", ["pretrained", None])
def test_both_kinds_are_cut_and_come_back_from_a_folder(task, weights, tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    info = trimmed_info(tmp_path, task)
    spec, model = build(f"hf:{folder}", info, weights=weights, layers=[0, 2])
    encoder = getattr(model.backbone.model, "bert", model.backbone.model)
    rows = encoder.embeddings.word_embeddings.weight
    assert rows.shape == (6, 16)
    if weights:
        from safetensors.torch import load_file

        original = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
        assert torch.equal(rows, original[KEPT])
    assert model.vocab_size == 6
    batch = model.example(3)
    save_model(model, spec, tmp_path / "saved")
    again = load_model_folder(tmp_path / "saved")
    for head, values in model(**batch).items():
        assert torch.equal(values, again(**batch)[head])
    assert (
        json.loads((tmp_path / "saved" / "config.json").read_text())["options"]["config"]["vocab_size"] == 6
    )


def test_a_checkpoint_of_fewer_tokens_is_refused_and_a_random_start_is_not(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert", vocab_size=8)
    info = trimmed_info(tmp_path)
    with pytest.raises(
        UsageError, match=r"knows 8 token ids, the tokenizer that data\.vocabulary trims gives 9"
    ):
        build(f"hf:{folder}", info)
    assert build(f"hf:{folder}", info, weights=None)[1].vocab_size == 6
