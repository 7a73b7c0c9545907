"""Trained text models whose answers must not depend on padding: decoders that look for the last token."""

from pathlib import Path

import pytest
import torch

from compactor.models.build import build_model
from compactor.recipe.spec import ModelSpec
from compactor.records import IDS, MASK, DataInfo, TextInfo
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import CLASSES, bert_folder, write_tokenizer
from tests.compactor.text_toys import IDS as COUNT

SEP = 3  # ends every text


def gpt(folder: Path, **changes: object) -> ModelSpec:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    sizes = {
        "vocab_size": COUNT,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 20,
        "eos_token_id": SEP,
    }
    config = GPT2Config(**sizes, num_labels=3, id2label=dict(enumerate(CLASSES)), **changes)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    return ModelSpec(model=f"hf:{folder}", weights="pretrained")


def data(folder: Path, pad_id: int) -> DataInfo:
    return DataInfo(
        "text-classification", {"label": CLASSES}, text=TextInfo(write_tokenizer(folder), pad_id, 12)
    )


@pytest.mark.parametrize("own", [{"pad_token_id": SEP}, {}], ids=["pads with its end", "says nothing"])
def test_a_decoder_that_pads_with_its_end_answers_by_its_last_token(
    tmp_path: Path, own: dict[str, int]
) -> None:
    model = build_model(gpt(tmp_path, **own), data(tmp_path, SEP), base=tmp_path).eval()
    ids = torch.tensor([[4, 5, 6, SEP, SEP, SEP]])
    with torch.no_grad():
        short = model(**{IDS: ids[:, :3], MASK: torch.ones(1, 3).long()})["label"]
        long = model(**{IDS: ids, MASK: torch.tensor([[1, 1, 1, 0, 0, 0]])})["label"]
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_another_pad_id_than_the_models_is_named(tmp_path: Path) -> None:
    spec = gpt(tmp_path, pad_token_id=SEP)
    says = r"depend on padding: they move by .* padded with id 0, .* its configuration pads with id 3; save"
    with pytest.raises(UsageError, match=says):
        build_model(spec, data(tmp_path, 0), base=tmp_path)


def test_an_encoder_that_reads_the_mask_may_be_padded_with_anything(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path, num_labels=3, id2label=dict(enumerate(CLASSES)))
    build_model(ModelSpec(model=f"hf:{folder}", weights="pretrained"), data(tmp_path, 5), base=tmp_path)
