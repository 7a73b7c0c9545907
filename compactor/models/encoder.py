"""Fresh text encoders by size: `encoder:LxD` has L layers of width D, for any text task.

The vocabulary is that of the data's tokenizer, and there are as many positions as a text has tokens at most,
so that a small model ships no rows that it never reads.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from torch import nn

from compactor.models.hf.losses import import_losses
from compactor.models.joint import with_heads
from compactor.models.text import TextBackbone, text_info_of, tokenizer_ids
from compactor.options import checked_options
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError, needs_extra

EAGER = (
    "eager"  # plain matrix products: every exporter knows them, and short texts gain nothing by fused ones
)
Count = Annotated[int, Meta(ge=1)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the family; absent ones depend on width, data and task.

    Attributes:
        heads: Attention heads; absent = width / 64 from width 256 on where that divides it, else width / 32,
            at least 1.
        intermediate: Width inside the feed-forward parts; absent = 4 times the width.
        positions: Longest text in tokens; absent = the data's max_tokens.
        dropout: Of hidden states and attention in training, and before linear heads.
        norm: `post`: BERT's layers (LayerNorm after each part, and of the embeddings). `pre`: LayerNorm
            before each part and after the last layer, none of the embeddings.
        pooling: What a text's vector is: `cls` (its first token), or `mean` or `max` over its tokens.
            Absent = `mean` for task embedding, else `cls`. Task masked-lm has no such vector.
    """

    heads: Count | None = None
    intermediate: Count | None = None
    positions: Count | None = None
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    norm: Literal["post", "pre"] = "post"
    pooling: Literal["cls", "mean", "max"] | None = None


def build(name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path) -> TextBackbone:
    """Build `encoder:LxD` with random weights, N(0, 0.02^2).

    Raises:
        UsageError: no such size, an option that it does not have, or heads that do not divide the width.
    """
    model = f"encoder:{name}"
    if info.text is None:
        raise UsageError(f"model {model}: reads texts, the task is {info.task}; name a model for it")
    if pretrained:
        raise UsageError(f"model {model}: has no weights of its own; give weights: FILE.safetensors")
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", name)
    if size is None:
        raise UsageError(
            f"model {model}: expected encoder:LxD with L layers of width D, such as encoder:4x256"
        )
    layers, width = int(size[1]), int(size[2])
    given = _complete(checked_options(Options, options, f"model {model}: options"), width, info)
    if width % given["heads"]:
        raise UsageError(
            f"model {model}: {given['heads']} heads do not divide its width {width}; set options.heads to a "
            f"divisor of {width}"
        )
    return with_heads(
        _transformer(layers, width, given, info),
        info,
        dropout=given["dropout"],
        pooling=given["pooling"],
        options=given,
        pretrained=False,
    )


def _complete(options: Options, width: int, info: DataInfo) -> dict[str, Any]:
    """All options by name, so that a saved model does not depend on defaults."""
    head_width = 64 if width >= 256 and width % 64 == 0 else 32
    return {
        "heads": options.heads or max(1, width // head_width),
        "intermediate": options.intermediate or 4 * width,
        "positions": options.positions or text_info_of(info).max_tokens,
        "dropout": options.dropout,
        "norm": options.norm,
        "pooling": options.pooling or ("mean" if info.heads[0].activation == "none" else "cls"),
    }


def _transformer(layers: int, width: int, options: dict[str, Any], info: DataInfo) -> Any:
    """A transformers encoder without pooler.

    RoBERTa's pre-norm layers get the embeddings of BERT. Its own are normalised, and they count positions
    from the tokens' ids, beginning after the pad id, of which rows up to there would ship unread.
    """
    import_losses()
    with needs_extra("train"):
        from transformers import BertConfig, BertModel, RobertaPreLayerNormConfig, RobertaPreLayerNormModel
        from transformers.models.bert.modeling_bert import BertEmbeddings

    text = text_info_of(info)
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer_ids(text.tokenizer),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": options["heads"],
        "intermediate_size": options["intermediate"],
        "max_position_embeddings": options["positions"],
        "hidden_dropout_prob": options["dropout"],
        "attention_probs_dropout_prob": options["dropout"],
        "type_vocab_size": 1,
        "pad_token_id": text.pad_id,
        "attn_implementation": EAGER,
    }
    if options["norm"] == "post":
        return BertModel(BertConfig(**sizes), add_pooling_layer=False)
    config = RobertaPreLayerNormConfig(**sizes)
    model: Any = RobertaPreLayerNormModel(config, add_pooling_layer=False)
    model.embeddings = BertEmbeddings(config)  # type: ignore[no-untyped-call]
    model.embeddings.LayerNorm = nn.Identity()
    model.embeddings.apply(model._init_weights)
    return model
