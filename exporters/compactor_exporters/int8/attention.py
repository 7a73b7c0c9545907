"""Take the projections out of fused attention, so that they are products which can be quantised.

onnxruntime.quantization leaves an Attention with `qkv_hidden_sizes` in float, and its 8-bit form, QAttention,
has no input for a bias of the scores: the mask would be lost. An Attention whose query, key and value are
equally wide is therefore written as MatMul, Split and MultiHeadAttention, the same formula.
"""

from typing import TYPE_CHECKING

from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    import onnx

_ATTRIBUTES = {"num_heads", "scale", "unidirectional", "mask_filter_value"}  # of both operators, alike
_BIAS, _SCORE_BIAS = 2, 5  # inputs of Attention; the others are absent in what is taken apart


def split_attention(model: "onnx.ModelProto") -> int:
    """Change the graph in place.

    Returns:
        How many operators were taken apart.
    """
    weights = {each.name: each.dims[-1] for each in model.graph.initializer if len(each.dims) == 2}
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        apart = node.op_type == "Attention" and _can_split(node, weights)
        nodes += _apart(node) if apart else [node]
        count += apart
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return count


def _can_split(node: "onnx.NodeProto", weights: dict[str, int]) -> bool:
    with needs_extra("export"):
        from onnx.helper import get_attribute_value

    given = {each.name: get_attribute_value(each) for each in node.attribute}
    thirds = given.pop("qkv_hidden_sizes", [])
    width = weights.get(node.input[1], 0)
    absent = all(not name for at, name in enumerate(node.input) if at > _BIAS and at != _SCORE_BIAS)
    return (
        width > 0
        and width % 3 == 0
        and list(thirds) in ([], [width // 3] * 3)
        and given.keys() <= _ATTRIBUTES
        and absent
        and len(node.output) == 1
    )


def _apart(node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    with needs_extra("export"):
        from onnx.helper import make_node

    out = node.output[0]
    packed, parts = f"{out}_packed", [f"{out}_{one}" for one in ("query", "key", "value")]
    given = dict(enumerate(node.input))
    attention = make_node(
        "MultiHeadAttention",
        [*parts, given.get(_BIAS, ""), "", given.get(_SCORE_BIAS, "")],
        [out],
        domain="com.microsoft",
    )
    attention.attribute.extend(each for each in node.attribute if each.name in _ATTRIBUTES)
    return [
        make_node("MatMul", list(node.input[:2]), [packed]),
        make_node("Split", [packed], parts, axis=-1, num_outputs=3),
        attention,
    ]
