"""What all text students share: the graph's inputs, an example, and whether encoder and tokenizer fit."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.student import Student, port_of
from compactor.recipe.spec import ModelSpec
from compactor.records import IDS, MASK, DataInfo, TextInfo
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.errors import UsageError

MAX_BATCH = 64
MIN_TOKENS = 2
EXAMPLE_TOKENS = 8


@dataclass(frozen=True)
class TextBackbone:
    """What a family builds for texts: a module (input_ids, attention_mask int64 [B, L]) -> [B, width].

    `width` is the number of classes, or of the embedding's dimensions. `vocab_size` and `max_tokens` are how
    many ids and positions it knows, None where it does not say. `untrained` are the weights that
    `weights: pretrained` did not bring. `features` are inner tensors that objectives may name. `classes` are
    the names of its answers in their order, where it says them; `renewed` builds it once more with a new head
    for the data's classes. `is_exact` is False of 8-bit graphs, whose rounding hangs on the whole batch.
    """

    module: nn.Module
    width: int
    vocab_size: int | None = None
    max_tokens: int | None = None
    untrained: list[str] = field(default_factory=list)
    features: dict[str, Feature] = field(default_factory=dict)
    classes: list[str] | None = None
    renewed: "Callable[[], TextBackbone] | None" = None
    is_exact: bool = True


class TextStudent(Student):
    """A student whose inputs are token ids and their mask; sub-classes say how the heads answer."""

    def __init__(self, backbone: TextBackbone, info: DataInfo, vocab_size: int) -> None:
        """Wrap a backbone for texts cut by a tokenizer of `vocab_size` ids."""
        super().__init__()
        self.backbone = backbone.module
        self.info = info
        self.width, self.vocab_size = backbone.width, vocab_size
        self.declared = {
            name: replace(one, path=f"backbone.{one.path}") for name, one in backbone.features.items()
        }

    @property
    def text(self) -> TextInfo:
        """How the texts are cut."""
        return text_info_of(self.info)

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Token ids of which every second sample has only half, so that the mask matters."""
        tokens = min(EXAMPLE_TOKENS, self.text.max_tokens)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(self.vocab_size, (batch, tokens), generator=generator)
        mask = torch.ones_like(ids)
        mask[1::2, tokens // 2 :] = 0
        return {IDS: ids.where(mask.bool(), self.text.pad_id), MASK: mask}

    @property
    def inputs(self) -> list[InputPort]:
        """Token ids and their mask, both [batch, tokens]."""
        limits = {"min": [1, MIN_TOKENS], "max": [MAX_BATCH, self.text.max_tokens]}
        axes: list[str | int] = ["batch", "tokens"]
        return [
            InputPort(name=IDS, dtype="int64", axes=axes, **limits, role="tokens"),
            InputPort(name=MASK, dtype="int64", axes=axes, **limits, role="mask"),
        ]

    @property
    def outputs(self) -> list[OutputPort]:
        """The graph's one output, of what the backbone returns for a text."""
        return [port_of(head, ["batch", self.width]) for head in self.info.heads]

    def saved(self) -> dict[str, Any]:
        """Nothing beside the backbone's own options."""
        return {}


def text_info_of(info: DataInfo) -> TextInfo:
    """How the texts of a data set are cut; a text task always says it."""
    assert info.text is not None
    return info.text


def tokenizer_ids(tokenizer: Path) -> int:
    """Number of ids that a `tokenizer.json` can give: its largest one plus 1.

    Raises:
        UsageError: it is no tokenizer.json.
    """
    try:
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
        vocab = content["model"]["vocab"]
        ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))  # a list for Unigram
        added = (token["id"] for token in content.get("added_tokens") or ())
        return int(max([*ids, *added])) + 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"tokenizer {tokenizer}: cannot be read ({error!r}); expected the tokenizer.json of the "
            "tokenizers library"
        ) from error


def check_fits(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> int:
    """Check that a model takes what the tokenizer gives, and return the tokenizer's number of ids.

    Raises:
        UsageError: ids or lengths that the model does not know, or settings that only images have.
    """
    text = text_info_of(info)
    if spec.mean is not None or spec.std is not None:
        raise UsageError(f"model {spec.model}: mean and std are for images, the data are texts; remove them")
    if spec.image_size is not None:
        raise UsageError(f"model {spec.model}: image_size is for images, the data are texts; remove it")
    if not text.max_tokens <= (backbone.max_tokens or text.max_tokens):
        raise UsageError(
            f"model {spec.model}: has {backbone.max_tokens} positions, data.max_tokens is {text.max_tokens}; "
            f"set data.max_tokens to {backbone.max_tokens} or less"
        )
    found = tokenizer_ids(text.tokenizer)
    if not found <= (backbone.vocab_size or found):
        raise UsageError(
            f"model {spec.model}: knows {backbone.vocab_size} token ids, tokenizer {text.tokenizer} gives "
            f"{found}; set data.tokenizer to the one that the model was trained with"
        )
    return found
