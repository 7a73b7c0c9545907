"""Count the number types of an engine's layers in what the inspector of TensorRT says.

TensorRT 10 names a tensor's type inside "Format/Datatype", TensorRT 11 apart as "DataType".
"""

import json
import re
from collections import Counter
from typing import Any

UNKNOWN = "unknown"
_TYPES = {
    "int8": ("int8",),
    "fp8": ("fp8", "e4m3", "e5m2"),
    "bf16": ("bf16", "bfloat16"),
    "fp16": ("fp16", "half", "float16"),
    "fp32": ("fp32", "float", "float32"),
    "int64": ("int64",),
    "int32": ("int32",),
    "bool": ("bool",),
}


def layer_types(text: str) -> dict[str, int]:
    """Count layers by the type of their first input, of constants by their output.

    Args:
        text: JSON from `get_engine_information`.

    Returns:
        Type -> number of layers, most frequent first; "unknown" where the engine does not say.
    """
    layers = json.loads(text).get("Layers", []) if text.strip() else []
    return dict(Counter(_type_of(layer) for layer in layers).most_common())


def _type_of(layer: Any) -> str:
    if not isinstance(layer, dict):
        return UNKNOWN  # an engine built without details gives names alone
    tensors = [*layer.get("Inputs", []), *layer.get("Outputs", [])]
    if not tensors or not isinstance(tensors[0], dict):
        return UNKNOWN
    said = str(tensors[0].get("DataType") or tensors[0].get("Format/Datatype") or "")
    words = set(re.findall(r"[a-z]+\d*(?:m\d)?", said.lower()))
    return next((name for name, spellings in _TYPES.items() if words & set(spellings)), UNKNOWN)
