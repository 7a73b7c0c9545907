"""Text backbones of two parts: an encoder that several tasks can share, and the heads of one task.

Weights are named `encoder.*` and `heads.*`, so that a stage can take an encoder from another task's stage.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.heads import new_heads, pool
from compactor.models.hf.trim import position_count
from compactor.models.text import TextBackbone
from compactor.records import LABEL, LABELS, STATES, DataInfo

OF_A_TEXT = (LABEL, LABELS)  # heads that alone answer for a whole text
NO_HEADS: Mapping[str, nn.Linear] = MappingProxyType({})


def needs_states(info: DataInfo) -> bool:
    """Whether a head reads the states of tokens, so that the model must be an encoder with heads."""
    return any(head.level != "sample" for head in info.heads)


class Encoder(nn.Module):
    """A transformers encoder whose forward returns the last hidden states alone."""

    def __init__(self, model: Any) -> None:
        """Wrap a bare transformers model; its pooler is dropped, because no head reads it."""
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        self.model = model

    @property
    def words(self) -> nn.Embedding:
        """The word embeddings."""
        found: nn.Embedding = self.model.get_input_embeddings()
        return found

    @property
    def width(self) -> int:
        """Width D of the states."""
        return int(self.model.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask [B, L] to states [B, L, D]."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


class EncoderWithHeads(nn.Module):
    """An encoder and the heads of a task, by name; the task's student says what goes from one to the other.

    Its own forward is for tasks of one answer a text.
    """

    def __init__(
        self, encoder: Encoder, heads: dict[str, nn.Module], *, pooling: str, options: dict[str, Any]
    ) -> None:
        """Join both; `options` build the same architecture again."""
        super().__init__()
        self.encoder, self.heads = encoder, nn.ModuleDict(heads)
        self.pooling, self.options = pooling, options

    def saved_options(self) -> dict[str, Any]:
        """Options from which the same architecture is built again."""
        return self.options

    def pooled(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector [B, D] a text."""
        return pool(hidden, attention_mask, self.pooling)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask [B, L] to the pooled vector [B, D], or to logits [B, num_classes] of it."""
        vector = self.pooled(self.encoder(input_ids, attention_mask), attention_mask)
        name = next((name for name in OF_A_TEXT if name in self.heads), None)
        if name is None:
            return vector
        logits: Tensor = self.heads[name](vector)
        return logits


def with_heads(
    model: Any,
    info: DataInfo,
    *,
    dropout: float,
    pooling: str,
    options: dict[str, Any],
    pretrained: bool,
    trained: Mapping[str, nn.Linear] = NO_HEADS,
) -> TextBackbone:
    """Join a transformers encoder with heads for a task, drawn from torch's generator where none is trained.

    Args:
        model: a bare encoder.
        info: task, classes and tokenizer of the data.
        dropout: before linear heads.
        pooling: how the vector of a text is made.
        options: those from which the same architecture is built again.
        pretrained: whether the encoder has trained weights, so that the heads alone are without.
        trained: heads that have trained weights as well, by name.
    """
    encoder, width = Encoder(model), int(model.config.hidden_size)
    heads = new_heads(info, width=width, words=encoder.words, dropout=dropout)
    for name, layer in trained.items():
        heads[name].load_state_dict(layer.state_dict())
    module = EncoderWithHeads(encoder, heads, pooling=pooling, options=options)
    fresh = [name for name in module.heads.state_dict() if name.partition(".")[0] not in trained]
    return TextBackbone(
        module,
        width=info.num_classes() if any(name in heads for name in OF_A_TEXT) else width,
        vocab_size=encoder.words.num_embeddings,
        max_tokens=position_count(model),
        untrained=sorted(f"heads.{name}" for name in fresh) if pretrained else [],
        features={STATES: Feature("encoder", width)},
    )
