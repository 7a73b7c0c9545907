"""The id that texts are padded with: what the model's own files say, and where they are silent."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from compactor.data.spec import DataSpec, VocabularySpec
from compactor.data.token_limits import own_max_tokens
from compactor.data.tokenizer import text_info
from tests.compactor.text_toys import write_wordpiece


def folder_with(folder: Path, words: list[str], files: dict[str, Any], *, pads: int | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, words[0]))
    if pads is not None:
        tokenizer.enable_padding(pad_id=pads, pad_token=words[pads])
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("words", "files", "pads", "expected"),
    [
        (["a", "b", "</s>"], {"config": {"pad_token_id": 2}}, None, 2),
        (["a", "b", "<pad>"], {"config": {"pad_token_id": 1}}, 2, 1),  # as the model reads it
        (["a", "b", "<pad>"], {"config": {"pad_token_id": None}}, 1, 1),
        (["a", "b", "<pad>"], {"config": {"pad_token_id": -1}}, None, 2),
        (["a", "b", "<pad>"], {"config": {"pad_token_id": 50_256}}, None, 2),
        (["a", "b", "c"], {"tokenizer_config": {"pad_token": "b"}}, None, 1),
        (["a", "b", "c"], {"tokenizer_config": {"pad_token": {"content": "c", "lstrip": False}}}, None, 2),
        (["a", "[PAD]", "c"], {}, None, 1),
        (["a", "b", "<eos>"], {"config": {"eos_token_id": 2}}, None, 2),
        (["a", "b", "<eos>"], {"tokenizer_config": {"eos_token": "<eos>"}}, None, 2),
        (["a", "b"], {}, None, 0),
    ],
)
def test_the_pad_id_is_the_models(
    tmp_path: Path, words: list[str], files: dict[str, Any], pads: int | None, expected: int
) -> None:
    folder = folder_with(tmp_path / "m", words, files, pads=pads)
    assert text_info(DataSpec(dataset="-", tokenizer=str(folder)), None).pad_id == expected


def test_trimming_moves_it(tmp_path: Path) -> None:
    letters = [*"abcdefgh", *(f"##{one}" for one in "abcdefgh")]
    write_wordpiece(tmp_path / "m", ["gab", "bag", *letters], [])
    (tmp_path / "m" / "config.json").write_text(json.dumps({"pad_token_id": 21}))  # [SEP]
    (tmp_path / "t.csv").write_text("text\nbag\n")
    spec = DataSpec(
        dataset="-",
        tokenizer=str(tmp_path / "m"),
        vocabulary=VocabularySpec(texts=[str(tmp_path / "t.csv")]),
    )
    found = text_info(spec, None, cache=tmp_path / "cache")
    assert Tokenizer.from_file(str(found.tokenizer)).id_to_token(found.pad_id) == "[SEP]"
    assert found.pad_id == 20  # gab is gone


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config": {"max_position_embeddings": 512}}, 512),
        ({"config": {"max_position_embeddings": 512}, "sentence_bert_config": {"max_seq_length": 256}}, 256),
        ({"config": {"max_position_embeddings": 512}, "tokenizer_config": {"model_max_length": 128}}, 128),
        ({"config": {"max_position_embeddings": 512}, "tokenizer_config": {"model_max_length": 1e30}}, 512),
        ({"config": {"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}}, 512),
        ({"config": {"n_positions": 1024}}, 1024),
        ({"config": {"max_position_embeddings": 131_072}}, 8192),
        ({"config": {}}, None),
    ],
)
def test_the_models_own_limit_of_tokens(tmp_path: Path, files: dict[str, Any], expected: int | None) -> None:
    assert own_max_tokens(folder_with(tmp_path / "m", ["a"], files)) == expected
