"""Heads of text encoders: guess masked tokens, tell classes of a text, tell classes of its tokens."""

import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.text import text_info_of, tokenizer_ids
from compactor.records import DataInfo

INIT_STD = 0.02
NORM_EPS = 1e-12  # BERT's
PADDED = -1e4  # below every state of a normalised encoder, and still a number in fp16


class DropoutLinear(nn.Linear):
    """Dropout, then a linear layer; the weights are named as those of a plain one."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        """Draw weights from N(0, 0.02^2); biases are 0."""
        super().__init__(width, classes)
        self.dropout = dropout
        _start(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map [..., width] to [..., classes]."""
        return super().forward(F.dropout(input, self.dropout, self.training))


class MlmHead(nn.Module):
    """RoBERTa's head: dense, GELU, LayerNorm, then the encoder's own word embeddings as decoder, plus a bias.

    The embeddings come as an argument, because a second owner would save and count them twice.
    """

    def __init__(self, width: int, embedding_width: int, vocab_size: int) -> None:
        """Draw the dense layer from N(0, 0.02^2); biases are 0."""
        super().__init__()
        self.dense = nn.Linear(width, embedding_width)
        self.norm = nn.LayerNorm(embedding_width, eps=NORM_EPS)
        self.decoder_bias = nn.Parameter(self.dense.bias.new_zeros(vocab_size))
        _start(self.dense)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Map states [P, width] to logits [P, V].

        Args:
            hidden: states of the positions to guess, gathered before, so that no others meet the vocabulary.
            embeddings: the encoder's word embeddings [V or more, embedding_width]; rows that no token id of
                the tokenizer has are left out.
        """
        vocab_size = len(self.decoder_bias)
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embeddings[:vocab_size], self.decoder_bias)


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Make one vector [B, D] of the states [B, L, D] of a text's tokens.

    Args:
        hidden: last hidden states.
        mask: int64 [B, L], 0 at padding.
        pooling: `cls` (the first token), or `mean` or `max` over the tokens that are no padding.
    """
    if pooling == "cls":
        return hidden[:, 0]
    real = mask.unsqueeze(-1)
    if pooling == "max":
        return hidden.masked_fill(real == 0, PADDED).amax(1)
    weights = real.to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def new_heads(info: DataInfo, *, width: int, words: nn.Embedding, dropout: float) -> dict[str, nn.Module]:
    """Make the heads of a task, drawn from torch's generator; vectors need none.

    Args:
        info: heads and tokenizer of the data.
        width: of the encoder's states.
        words: the encoder's word embeddings.
        dropout: before linear heads.
    """
    heads: dict[str, nn.Module] = {}
    for head in info.heads:
        if head.level == "token":
            vocabulary = tokenizer_ids(text_info_of(info).tokenizer)
            heads[head.name] = MlmHead(width, words.embedding_dim, vocabulary)
        elif head.activation != "none":
            heads[head.name] = DropoutLinear(width, len(head.labels), dropout)
    return heads


def _start(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
