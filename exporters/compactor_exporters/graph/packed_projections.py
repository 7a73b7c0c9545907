"""Undo what vision transformers do to their attention: one matrix product for query, key and value.

ONNX Runtime fuses attention that is written as three projections of [B, N, H x D], and packs their weights
itself. Two rules bring the packed form there; the weights are cut, not changed.

1. One of three, taken from [B, N, 3, H, D] after a transposition to [3, B, H, N, D], is cut from
   [B, N, 3 x H x D] instead, and then transposed to [B, H, N, D].
2. A cut through a projection is a projection by the cut weights.
"""

from typing import TYPE_CHECKING, Any

from compactor_exporters.graph.rules import numbers_of, shape_of
from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule

    Value = ir.Value | None


def packed_projection_rules() -> "list[RewriteRule]":
    """The rules above, in their order."""
    with needs_extra("export"):
        from onnxscript.rewriter import RewriteRule

    return [  # what three cuts share stays until the last of them has gone
        RewriteRule(_one_of_three, _cut, _is_one_of_three, name="cut", remove_nodes=False),
        RewriteRule(_cut_projection, _projection, _is_constant, name="projection", remove_nodes=False),
    ]


def _one_of_three(op: Any, packed: Any, shape: Any, start: Any, end: Any) -> Any:
    turned = op.Transpose(op.Reshape(packed, shape, _outputs=["split"]), perm=[2, 0, 3, 1, 4])
    return op.Squeeze(op.Slice(turned, start, end, [0]), [0])


def _is_one_of_three(
    context: Any, packed: "Value", split: "Value", start: "Value", end: "Value", **_: Any
) -> bool:
    first, last, shape = numbers_of(start), numbers_of(end), shape_of(split)
    return (
        first is not None
        and last == [first[0] + 1]
        and first[0] >= 0
        and len(shape_of(packed)) == 3
        and len(shape) == 5
        and all(isinstance(axis, int) for axis in shape[2:])
    )


def _cut(op: Any, packed: "Value", split: "Value", start: "Value", **_: Any) -> Any:
    heads, width = shape_of(split)[3:]
    (number,) = numbers_of(start) or [0]
    bounds = [op.Constant(value_ints=[at * heads * width]) for at in (number, number + 1)]
    part = op.Slice(packed, *bounds, op.Constant(value_ints=[2]))
    return op.Transpose(op.Reshape(part, op.Constant(value_ints=[0, 0, heads, width])), perm=[0, 2, 1, 3])


def _cut_projection(op: Any, x: Any, weight: Any, bias: Any, start: Any, end: Any) -> Any:
    return op.Slice(op.Add(op.MatMul(x, weight), bias), start, end, [2])


def _is_constant(context: Any, x: "Value", weight: "ir.Value", bias: "ir.Value", **_: Any) -> bool:
    known = weight.const_value is not None and bias.const_value is not None
    return known and len(shape_of(x)) == 3 and len(shape_of(weight)) == 2 and len(shape_of(bias)) == 1


def _projection(op: Any, x: "Value", weight: "Value", bias: "Value", start: "Value", end: "Value") -> Any:
    last, first = (op.Constant(value_ints=[axis]) for axis in (1, 0))
    return op.Add(op.MatMul(x, op.Slice(weight, start, end, last)), op.Slice(bias, start, end, first))
