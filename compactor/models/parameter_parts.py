"""How many parameters of a text model are embeddings, encoder and heads."""

from typing import Any

from torch import nn

from compactor.models.hf.trim import layer_stack
from compactor.models.joint import EncoderWithHeads
from compactor.models.student import Student, parameter_count

PARTS = ("embeddings", "encoder", "heads")
EMBEDDINGS = "embeddings"  # how transformers calls them, alone or as the beginning of a name


def parameter_parts(student: Student) -> dict[str, int] | None:
    """Count by part; values are not read, so that a model on the meta device will do.

    The encoder is its layers alone, as the literature counts "non-embedding" sizes: L layers of width d and
    intermediate width f have L * (4 d^2 + 2 d f + 9 d + f). Embeddings are those of words, positions and
    token types, with their LayerNorm. All else is heads: also a LayerNorm after the last layer, whose output
    they read, and a pooler.

    Returns:
        {part: parameters}, which sum up to those of the student; None for models without such parts.
    """
    if student.info.text is None:
        return None
    backbone: Any = student.backbone
    holder = backbone.encoder if isinstance(backbone, EncoderWithHeads) else backbone
    base = getattr(getattr(holder, "model", None), "base_model", None)
    stack = layer_stack(base) if isinstance(base, nn.Module) else None
    if base is None or stack is None:
        return None
    children = dict(base.named_children())
    embeddings = sum(parameter_count(children[name]) for name in children if name.startswith(EMBEDDINGS))
    encoder = parameter_count(stack)
    return {
        "embeddings": embeddings,
        "encoder": encoder,
        "heads": parameter_count(student) - embeddings - encoder,
    }
