"""How a sentence-transformers folder turns token states into one vector."""

import json
from pathlib import Path

from compactor_runtimes.errors import UsageError

POOLINGS = ("mean", "cls")
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_STEPS = ("Transformer", "Pooling", "Normalize")  # normalising is the runtime's


def folder_pooling(folder: Path, model: str) -> str:
    """Read the pooling that a sentence-transformers folder declares; `mean` for any other folder.

    Raises:
        UsageError: it has steps after the encoder that are not built here, so its vectors would differ.
    """
    try:
        steps = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return POOLINGS[0]
    kinds = [step["type"].rpartition(".")[2] for step in steps]
    foreign = [kind for kind in kinds if kind not in _STEPS]
    if foreign:
        raise UsageError(
            f"model {model}: its modules.json has a step {foreign[0]}, known are {', '.join(_STEPS)}; "
            "set options.pooling to mean or cls to take the encoder without it"
        )
    path = next((step["path"] for step, kind in zip(steps, kinds, strict=True) if kind == "Pooling"), None)
    if path is None:
        return POOLINGS[0]
    config = json.loads((folder / path / "config.json").read_text(encoding="utf-8"))
    asked = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in _FLAGS:
        raise UsageError(
            f"model {model}: its pooling is {', '.join(asked) or 'not declared'}, known are "
            f"{', '.join(_FLAGS)}; set options.pooling to mean or cls"
        )
    return _FLAGS[asked[0]]
