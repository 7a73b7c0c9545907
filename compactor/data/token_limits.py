"""How many tokens of a text a transformers model takes, read off its folder without opening its weights."""

import json
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import UsageError

# their position embeddings begin after the padding id, so that rows up to it hold no text
COUNT_FROM_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
UNSAID = 1_000_000  # tokenizers without a limit say a number far above it
POSITIONS = ("max_position_embeddings", "n_positions")
MOST = 8192  # that data.max_tokens may say


def own_max_tokens(folder: Path) -> int | None:
    """The model's own limit: sentence-transformers', else the tokenizer's, at most its positions; or None.

    Raises:
        UsageError: one of its files is not JSON.
    """
    trained = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    said = read_json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [positions_of(read_json(folder / "config.json"))]
    if _is_count(trained):
        limits.append(trained)
    elif said is not None and _is_count(said) and said < UNSAID:
        limits.append(int(said))
    known = [one for one in limits if one]
    return min(*known, MOST) if known else None


def positions_of(config: dict[str, Any]) -> int | None:
    """Tokens that its position embeddings allow; None where it does not say."""
    found = next((config[key] for key in POSITIONS if _is_count(config.get(key))), None)
    if found is None:
        return None
    padding = config.get("pad_token_id", 1) if config.get("model_type") in COUNT_FROM_PADDING else None
    return int(found) - (0 if padding is None else padding + 1)


def read_json(path: Path) -> dict[str, Any]:
    """A file's object; empty where there is no such file.

    Raises:
        UsageError: it is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON ({error}); download the model again") from error
    return content if isinstance(content, dict) else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1
