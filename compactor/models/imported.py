"""Models of the user's own code: `module:package.module:attr`, a callable that returns an nn.Module."""

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compactor.models.classifier import Backbone
from compactor.models.image_size import size_taken
from compactor.models.joint import needs_states
from compactor.models.text import TextBackbone, text_info_of, tokenizer_ids
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import resolve


def build(
    name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path
) -> Backbone | TextBackbone:
    """Call `attr(num_classes=..., **options)`.

    For images, pixels come in [0, 1] unless the recipe gives mean and std. For texts, `vocab_size` is passed
    too (for vectors without `num_classes`), and the module's forward takes (input_ids, attention_mask).

    Raises:
        UsageError: it cannot be imported or called, or does not return a module that the task can use.
    """
    if pretrained:
        raise UsageError(f"model module:{name}: has no weights of its own; give weights: FILE.safetensors")
    try:
        factory = resolve(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"model module:{name}: module {error.name!r} cannot be imported; "
            "install it or set PYTHONPATH to its folder"
        ) from error
    if needs_states(info):
        raise UsageError(
            f"model module:{name}: your own modules answer once a text, the task is {info.task}; name a "
            "model of family encoder:, hf: or package:"
        )
    (head,) = info.heads
    given = {} if head.activation == "none" else {"num_classes": len(head.labels)}
    if info.text is not None:
        given["vocab_size"] = tokenizer_ids(info.text.tokenizer)
    try:
        signature(factory).bind(**given, **options)
    except TypeError as error:
        raise UsageError(
            f"model module:{name}: cannot be called with {' and '.join(given)} and options {options}: {error}"
        ) from error
    module = factory(**given, **options)
    if not isinstance(module, nn.Module):
        raise UsageError(f"model module:{name}: returned {type(module).__name__}, expected a torch.nn.Module")
    if info.text is not None:
        return TextBackbone(module, _width(name, module, info))
    assert info.image is not None
    size_taken(module, info.image, None, where=f"model module:{name}")  # refused here, not while it trains
    return Backbone(module, [0.0] * info.channels, [1.0] * info.channels)


def _width(name: str, module: nn.Module, info: DataInfo) -> int:
    """Size of the last axis of what a text module returns, found by running it once."""
    ids = torch.full((2, min(4, text_info_of(info).max_tokens)), text_info_of(info).pad_id)
    training = module.training
    try:
        with torch.no_grad():
            found = module.eval()(ids, torch.ones_like(ids))
    except (TypeError, RuntimeError, IndexError) as error:
        raise UsageError(
            f"model module:{name}: cannot be called with (input_ids, attention_mask), int64 [B, L]: {error}"
        ) from error
    module.train(training)
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != 2:
        what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"model module:{name}: returned {what} for two texts, expected a tensor [2, logits or dimensions]"
        )
    return int(found.shape[1])
