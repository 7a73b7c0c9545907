"""Cut a transformers encoder down to a student: to some of its layers, or to the tokens of a tokenizer."""

import json
import re
from typing import Any

from torch import nn

from compactor.records import TextInfo
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


def position_count(model: Any) -> int | None:
    """Number of tokens that learned position embeddings allow; None where positions are computed.

    RoBERTa and its kin leave the rows up to the padding row unused.
    """
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _at(module: nn.Module, path: str) -> nn.ModuleList | None:
    for part in path.split("."):
        inner = getattr(module, part, None)
        if not isinstance(inner, nn.Module):
            return None
        module = inner
    return module if isinstance(module, nn.ModuleList) else None


def keep_tokens(model: Any, text: TextInfo, *, name: str) -> None:
    """Keep only the rows of `text.kept`, in its order, of all that has one row a token.

    1. The word embeddings and, where there is one, the output layer with its bias are cut; what was tied to
       them (one Parameter under several names) is so afterwards.
    2. The configuration tells the new size and the new ids of special tokens.
    3. Nothing happens without `text.kept`, or to a model that has exactly as many tokens as were kept: its
       configuration was trimmed before it was built (`trim_config`), or its weights were saved trimmed.

    Args:
        model: a transformers.PreTrainedModel, changed in place.
        text: of the data; `kept` says which rows.
        name: the model in error messages.

    Raises:
        UsageError: the model has fewer tokens than the tokenizer had before it was trimmed, or one whose
            position numbers hang on a padding id that trimming moves.
    """
    old = model.get_input_embeddings()
    kept = _kept(text)
    if kept is None or old.num_embeddings == len(kept):
        return
    if old.num_embeddings <= kept[-1]:
        raise UsageError(
            f"model {name}: knows {old.num_embeddings} token ids, the tokenizer that data.vocabulary trims "
            f"gives {kept[-1] + 1}; set data.tokenizer to the one that the model was trained with"
        )
    padding = _moved(old.padding_idx, kept)
    if padding != old.padding_idx and _counts_from_padding(model):
        raise UsageError(
            f"model {name}: numbers its positions from padding id {old.padding_idx}, which becomes {padding} "
            "in the trimmed vocabulary; remove data.vocabulary, or use a model of the BERT kind"
        )
    size = old.num_embeddings
    new = {id(old.weight): _rows(old.weight, kept)}
    old.num_embeddings, old.padding_idx = len(kept), padding
    output = model.get_output_embeddings()
    if output is not None:
        # BERT's head holds a bias itself, which is the layer's own only where weights are tied
        heads = [output, *(one for one in model.modules() if output in one.children())]
        for parameter in (one for head in heads for one in head.parameters(recurse=False)):
            if len(parameter) == size:
                new.setdefault(id(parameter), _rows(parameter, kept))
        output.out_features = len(kept)
    for module in model.modules():
        for key, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) in new:
                setattr(module, key, new[id(parameter)])
    trim_config(model.config, text)


def trim_config(config: Any, text: TextInfo) -> None:
    """Set the vocabulary's size, and the ids of special tokens, of a model that is to start at random."""
    kept = _kept(text)
    if kept is None or config.vocab_size == len(kept):
        return
    config.vocab_size = len(kept)
    for key, value in config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int):
            setattr(config, key, _moved(value, kept))


def _kept(text: TextInfo) -> list[int] | None:
    """Old ids, ascending."""
    return None if text.kept is None else json.loads(text.kept.read_text(encoding="utf-8"))


def _moved(number: int | None, kept: list[int]) -> int | None:
    """The new id of a token, None where it has none."""
    return kept.index(number) if number in kept else None


def _counts_from_padding(model: Any) -> bool:
    """Whether positions begin after the padding id, as in RoBERTa and its kin; see `position_count`."""
    return any(
        path.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        for path, module in model.named_modules()
    )


def _rows(parameter: nn.Parameter, kept: list[int]) -> nn.Parameter:
    return nn.Parameter(parameter.detach()[kept].clone(), requires_grad=parameter.requires_grad)
