"""Cut a transformers model to the tokens that a trimmed tokenizer has kept, row by row."""

import json
from typing import Any

from torch import nn

from compactor.records import TextInfo
from compactor_runtimes.errors import UsageError


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
