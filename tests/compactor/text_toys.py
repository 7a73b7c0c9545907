"""Small stand-ins of the text tests: a tokenizer, a data description, and transformers folders."""

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.input_cases import toys
from compactor.records import DataInfo, TextInfo

WORDS = ["turn", "on", "off", "the", "light", "play", "music", "what", "time", "is", "it", "now"]
CLASSES = ["light", "music", "time"]
IDS = 4 + len(WORDS)


def write_tokenizer(folder: Path, words: list[str] = WORDS) -> Path:
    """A word tokenizer: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then the words."""
    return toys.write_tokenizer(folder, words)


def write_wordpiece(folder: Path, before: list[str], after: list[str]) -> Path:
    """A WordPiece tokenizer whose special tokens [PAD] [UNK] [CLS] [SEP] lie between two lists of pieces."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {piece: number for number, piece in enumerate([*before, *special, *after])}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocab[name]) for name in special[2:]]
    )
    tokenizer.add_special_tokens(special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def text_info(
    folder: Path, *, task: str = "text-classification", classes: list[str] = CLASSES, max_tokens: int = 12
) -> DataInfo:
    return DataInfo(task, {"label": classes}, text=TextInfo(write_tokenizer(folder), 0, max_tokens))


def bert_config(**changes: object) -> object:
    from transformers import BertConfig

    sizes = {
        "vocab_size": IDS,
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 20,
    }
    return BertConfig(**(sizes | changes))


def bert_folder(folder: Path, *, num_labels: int | None = None, seed: int = 0, **changes: object) -> Path:
    """A BERT with a classifier, or without (as sentence encoders are published)."""
    from transformers import BertForSequenceClassification, BertModel

    torch.manual_seed(seed)
    if num_labels is None:
        BertModel(bert_config(**changes)).save_pretrained(folder)
    else:
        config = bert_config(num_labels=num_labels, **changes)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


class Bag(nn.Module):
    """The user's own text model: mean of word vectors, then a linear layer."""

    def __init__(self, vocab_size: int, num_classes: int = 5, dim: int = 6) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, dim)
        self.out = nn.Linear(dim, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        weights = attention_mask.unsqueeze(-1)
        return self.out((self.words(input_ids) * weights).sum(1) / weights.sum(1))


class NoMask(nn.Module):
    """Takes one input only, so it cannot be a text model."""

    def __init__(self, vocab_size: int, num_classes: int = 3) -> None:
        super().__init__()

    def forward(self, input_ids: Tensor) -> Tensor:
        return input_ids.float()


class WordScores(nn.Module):
    """Answers for each token instead of each text."""

    def __init__(self, vocab_size: int, num_classes: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.words(input_ids)
