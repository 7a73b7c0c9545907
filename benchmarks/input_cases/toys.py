"""Small models and data whose right answers are known: words and shades that stand for classes."""

import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

WORDS = {
    "negative": ("bad", "awful", "poor"),
    "neutral": ("table", "chair", "room"),
    "positive": ("good", "great", "fine"),
}
CLASSES = tuple(WORDS)
FILL = ("the", "is", "a")
VOCABULARY = [*(word for words in WORDS.values() for word in words), *FILL]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROWS, EPOCHS, BATCH = 600, 6, 30
SIDE = 16  # of pictures
MAX_TOKENS = 12


def sentences(count: int = ROWS, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of six words and their classes, in turn."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        words = [rng.choice(WORDS[name]) for _ in range(3)] + [rng.choice(FILL) for _ in range(3)]
        rng.shuffle(words)
        rows.append((" ".join(words), name))
    return rows


def write_csv(
    path: Path, rows: Sequence[tuple[str, str]], *, separator: str = ",", header: bool = True
) -> Path:
    """Write texts and labels as they are."""
    lines = [separator.join(row) for row in rows]
    path.write_text("\n".join(([separator.join(("text", "label"))] if header else []) + lines) + "\n")
    return path


def relabelled(names: Mapping[str, str], count: int = ROWS) -> list[tuple[str, str]]:
    """The sentences with other names for the classes."""
    return [(text, names[label]) for text, label in sentences(count)]


def write_tokenizer(folder: Path, words: Sequence[str] = tuple(VOCABULARY)) -> Path:
    """A word tokenizer: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then the words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocab = {word: number for number, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@cache
def trained_bert() -> Path:
    """A BERT of two layers that tells the three classes apart, in the order of CLASSES; trained once."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertForSequenceClassification

    folder = Path(tempfile.mkdtemp(prefix="compactor-toys-"))
    tokenizer = Tokenizer.from_file(str(write_tokenizer(folder)))
    tokenizer.enable_padding()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(VOCABULARY) + len(SPECIAL),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
                num_labels=len(CLASSES),
                pad_token_id=0,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        rows = sentences()
        for _ in range(EPOCHS):
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                read = tokenizer.encode_batch([text for text, _ in part])
                loss = model(
                    input_ids=torch.tensor([one.ids for one in read]),
                    attention_mask=torch.tensor([one.attention_mask for one in read]),
                    labels=torch.tensor([CLASSES.index(label) for _, label in part]),
                ).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    model.save_pretrained(folder)
    return folder


def bert(folder: Path, answers: Sequence[str], names: Sequence[str] | None = None, **config: Any) -> str:
    """The trained BERT with its answers in the order `answers` and names of our choice; its recipe name.

    An unknown class gets a row of zeros. `names` absent = `answers`; `config` changes config.json.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(trained_bert(), folder)
    state = load_file(folder / "model.safetensors")
    for key in ("classifier.weight", "classifier.bias"):
        none = torch.full_like(state[key][0], -9.0 if key.endswith("bias") else 0.0)
        state[key] = torch.stack(
            [state[key][CLASSES.index(one)] if one in CLASSES else none for one in answers]
        )
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    said = json.loads(path.read_text())
    said["id2label"] = {str(number): name for number, name in enumerate(names or answers)}
    said["label2id"] = {name: number for number, name in enumerate(names or answers)}
    path.write_text(json.dumps(said | config))
    return f"hf:{folder}"


def text_recipe(folder: Path, dataset: Path, teacher: Mapping[str, Any], **data: Any) -> Any:
    """A recipe as one writes it by hand: one teacher, a small encoder, its soft labels alone."""
    from compactor.recipe.load import LoadedRecipe, parse_recipe

    tokenizer = data.pop("tokenizer", None) or str(write_tokenizer(folder / "words"))
    raw = {
        "name": "hand",
        "task": "text-classification",
        "data": {"dataset": str(dataset), "tokenizer": tokenizer, "max_tokens": MAX_TOKENS, **data},
        "teachers": [{"weights": "pretrained", **teacher}],
        "student": {"model": "encoder:1x32"},
        "stages": [
            {
                "id": "distil",
                "method": "kd",
                "options": {"soft_weight": 1.0},
                "epochs": 8,
                "batch_size": 16,
                "optimizer": "adamw",
                "lr": 3.0e-3,
            }
        ],
        "measure": {"scenarios": []},
    }
    return LoadedRecipe(parse_recipe(raw), folder, "hand.yaml")


def answers_of(
    folder: Path, loaded: Any, texts: Sequence[str] = ("awful bad poor", "great fine good")
) -> list[str]:
    """Run a recipe to its bundle and ask this; what is not recommended to ship says so."""
    from compactor.run.pipeline import run_recipe
    from compactor_runtimes import load

    result = run_recipe(loaded, runs=folder / "runs")
    assert result is not None
    with load(result.bundle) as model:
        said = [one.label for one in model.predict(list(texts))]
    return said if result.report.recommendation.startswith("Ship ") else ["not yet"]


def write_pictures(folder: Path, names: Sequence[str] = ("cat", "dog"), count: int = 24, **save: Any) -> Path:
    """Class folders of grey squares: each class has its own shade, and some noise."""
    import numpy as np
    from PIL import Image

    size = save.pop("size", (SIDE, SIDE))
    suffix = save.pop("suffix", "png")
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        shade = 40 + 170 * number // max(len(names) - 1, 1)
        for row in range(count):
            pixels = np.clip(rng.normal(shade, 15, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{row:03d}.{suffix}", **save)
    return folder
