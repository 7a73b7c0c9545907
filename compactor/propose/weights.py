"""What weights say about classes, read without loading them: from a safetensors header or a config.json."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import UsageError

# parts of a parameter's name under which the usual libraries keep the last linear layer
HEADS = {"classifier", "head", "heads", "head_dist", "fc", "linear", "logits", "last_linear", "lin"}
MOST_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Known:
    """How many classes a model tells apart, and their names in order where they are real names."""

    count: int | None = None
    names: list[str] | None = None

    @property
    def classes(self) -> list[str] | int | None:
        """As a recipe's `data.classes`."""
        return self.names or self.count


def classes_of_file(path: Path) -> Known:
    """Read the number of classes off a safetensors file's last linear layer, where it is clear which.

    Raises:
        UsageError: it is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size < MOST_HEADER_BYTES:
                raise ValueError("no header")
            header = json.loads(file.read(size))
        shapes = {name: entry["shape"] for name, entry in sorted(header.items()) if not name.startswith("__")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"weights {path}: cannot be read as safetensors ({error}); download or export them again"
        ) from error
    matrices = {name: shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2}
    heads = {
        int(shape[0])
        for name, shape in matrices.items()
        if HEADS & set(name.split(".")[-4:-1]) and not re.search(r"\b(dense|fc[12]|layers?|blocks?)\b", name)
    }
    if not heads and len(matrices) == 1:
        heads = {int(shape[0]) for shape in matrices.values()}
    return Known(heads.pop()) if len(heads) == 1 else Known()


def classes_of_config(config: dict[str, Any]) -> Known:
    """Read number and names of the classes off a transformers configuration; an encoder alone has none."""
    kinds = " ".join(config.get("architectures") or [])
    if "Classification" not in kinds:
        return Known()
    by_id = config.get("id2label") or {}
    if not by_id:
        return Known(int(config.get("num_labels") or 2))  # two is what transformers leaves unwritten
    names = [str(by_id[key]) for key in sorted(by_id, key=int)]
    made_up = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return Known(len(names), None if made_up or len(set(names)) < len(names) else names)
