"""Whether a trained text model answers a padded text as the text alone; else a batch changes its answers."""

from typing import Any

import torch

from compactor.models.text import TextStudent
from compactor.recipe.spec import ModelSpec
from compactor.records import IDS, MASK
from compactor_runtimes.errors import UsageError

TOLERANCE = 1e-3  # of the largest answer; rounding is a thousandth of it, the wrong token's answer is not
LEAST_TOKENS = 2
WAY_OUT = (
    "save pad_token_id in its config.json and pad_token in its tokenizer_config.json as it was trained, or "
    "name a model that reads the mask"
)


def require_unseen_padding(model: TextStudent, spec: ModelSpec) -> None:
    """Compare the answers to a text alone and beside a longer one, with ids drawn at random.

    Args:
        model: a student that takes ids and mask; its mode stays as it is.
        spec: its entry.

    Raises:
        UsageError: they differ; the message names the padding ids that the data and its configuration say.
    """
    text = model.text
    long = model.example()[IDS].shape[1]
    short = long // 2
    if short < LEAST_TOKENS:
        return
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(model.vocab_size, (1, short), generator=generator)
    ids[ids == text.pad_id] = (text.pad_id + 1) % model.vocab_size
    padded = torch.cat([ids, torch.full((1, long - short), text.pad_id)], 1)
    mask = (torch.arange(long) < short).long()[None]
    modes = [(one, one.training) for one in model.modules()]
    try:
        with torch.no_grad():
            alone = model.eval()(**{IDS: ids, MASK: torch.ones_like(ids)})
            beside = model(**{IDS: padded, MASK: mask})
    except ValueError as error:  # transformers, of a batch without a padding id
        raise UsageError(f"model {spec.model}: cannot read texts in batches: {error}; {WAY_OUT}") from error
    finally:
        for one, mode in modes:
            one.training = mode
    for head in model.info.heads:
        a, b = alone[head.name], beside[head.name]
        b = b[:, :short] if head.level == "word" else b
        difference = float((a - b).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(a.abs().max())):
            raise UsageError(
                f"model {spec.model}: its answers depend on padding: they move by {difference:.3g} where a "
                f"text is padded with id {text.pad_id}, as the data's tokenizer says"
                f"{_config_says(model, text.pad_id)}; "
                f"{WAY_OUT}"
            )


def _config_says(model: TextStudent, pad_id: int) -> str:
    inner: Any = getattr(model.backbone, "model", None)
    own = getattr(getattr(inner, "config", None), "pad_token_id", None)
    if own is None or own == pad_id:
        return ""
    return f", and its configuration pads with id {own}"
