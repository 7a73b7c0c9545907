"""Which layers of a BERT-like encoder a student keeps."""

import re
from typing import Any

from torch import nn

from compactor_runtimes.errors import UsageError

STACKS = ("encoder.layer", "transformer.layer")  # BERT, RoBERTa, MPNet, ELECTRA, DeBERTa; DistilBERT


def keep_layers(model: Any, layers: object, *, name: str) -> None:
    """Keep only the given layers of a transformers model's encoder, in the given order.

    Args:
        model: the model, changed in place; its configuration tells the new depth.
        layers: numbers of the layers, counted from 0; or `every-K` for 0, K, 2 K and so on.
        name: the model in error messages.

    Raises:
        UsageError: the encoder has no such layers, or none that can be chosen.
    """
    encoder = model.base_model
    stack = layer_stack(encoder)
    if stack is None:
        raise UsageError(
            f"model {name}: options.layers: {type(encoder).__name__} has no {' or '.join(STACKS)} to choose "
            "from; remove the option, or set the depth by an option of its configuration"
        )
    chosen = _chosen(layers, len(stack))
    if not chosen or not all(type(one) is int and 0 <= one < len(stack) for one in chosen):
        raise UsageError(
            f"model {name}: options.layers: got {layers!r}, expected a list of numbers "
            f"from 0 to {len(stack) - 1}, or every-K with K from 1 to {len(stack)}"
        )
    kept = [stack[one] for one in chosen]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"model {name}: options.layers: got {layers!r}, expected each layer once")
    del stack[:]
    stack.extend(kept)
    model.config.num_hidden_layers = len(kept)


def _chosen(layers: object, depth: int) -> list[Any]:
    """The numbers that are meant, unchecked; none where the option is neither a list nor `every-K`."""
    if isinstance(layers, list):
        return layers
    every = re.fullmatch(r"every-([1-9]\d*)", layers) if isinstance(layers, str) else None
    return [] if every is None or int(every[1]) > depth else list(range(0, depth, int(every[1])))


def layer_stack(encoder: nn.Module) -> nn.ModuleList | None:
    """The layers of a bare transformers encoder; None where it keeps them elsewhere."""
    return next((found for path in STACKS if (found := _at(encoder, path)) is not None), None)


def _at(module: nn.Module, path: str) -> nn.ModuleList | None:
    for part in path.split("."):
        inner = getattr(module, part, None)
        if not isinstance(inner, nn.Module):
            return None
        module = inner
    return module if isinstance(module, nn.ModuleList) else None
