"""Rewrites of what torch and transformers write in a roundabout way, so that runtimes know the pattern.

1. Gelu: x * (0.5 * (1 + erf)) becomes (x * (1 + erf)) * 0.5, the order that runtimes fuse. A half is a power
   of two, so that both orders round alike.
2. A mask [B, L] that is read at each of its positions, by an index of B x L entries, is the mask itself.
3. The keys of attention, transposed by way of three axes, are transposed at once.
4. A constant is not cast to the type that it has.
5. The mean over an image's height and width is GlobalAveragePool, which blocked layouts and int8 know.
Weights are never touched.
"""

from typing import TYPE_CHECKING, Any

from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule

    Value = ir.Value | None

_KEEP_TYPE = {"Transpose", "Reshape", "Mul", "Squeeze", "Unsqueeze", "Slice"}


def graph_rules() -> "list[RewriteRule]":
    """The rules above; the second wants no-op transpositions and additions removed."""
    with needs_extra("export"):
        from onnxscript.rewriter import RewriteRule

    return [
        *RewriteRule(_gelu, _gelu_as_fused, name="gelu").commute(),
        RewriteRule(_read_at_positions, _unsqueezed, _is_every_position, name="mask"),
        RewriteRule(_keys_by_three_axes, _transposed, _is_transposition, name="keys"),
        RewriteRule(_cast_like, _as_it_is, _has_that_type, name="constant"),
        RewriteRule(_spatial_mean, _global_average, _is_over_the_image, name="mean"),
    ]


def _gelu(op: Any, x: Any, inner: Any) -> Any:
    return op.Mul(x, op.Mul(0.5, op.Add(op.Erf(inner), 1.0)))


def _gelu_as_fused(op: Any, x: "Value", inner: "Value") -> Any:
    one, half = op.Constant(value_float=1.0), op.Constant(value_float=0.5)
    return op.Mul(op.Mul(x, op.Add(op.Erf(inner), one)), half)


def _read_at_positions(op: Any, mask: Any, rows: Any, columns: Any, shape: Any) -> Any:
    places = [op.Unsqueeze(op.Expand(each, shape), [-1]) for each in (rows, columns)]
    return op.GatherND(mask, op.Concat(*places, axis=-1), batch_dims=0)


def _is_every_position(context: Any, mask: "Value", rows: "Value", columns: "Value", **_: Any) -> bool:
    shape = shape_of(mask)
    return (
        len(shape) == 2
        and shape_of(rows) == [shape[0], 1, 1, 1]
        and shape_of(columns) == [1, 1, 1, shape[1]]
        and _counts_up(rows)
        and _counts_up(columns)
    )


def _counts_up(value: "Value") -> bool:
    """Whether these are 0, 1, 2, ...: as many as the shape says."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type == "Unsqueeze":
        before = node.inputs[0]
        node = before.producer() if before is not None else None
    return (
        node is not None
        and node.op_type == "Range"
        and numbers_of(node.inputs[0]) == [0]
        and numbers_of(node.inputs[2]) == [1]
    )


def _unsqueezed(op: Any, mask: "Value", **_: Any) -> Any:
    return op.Unsqueeze(mask, op.Constant(value_ints=[1, 2]))


def _keys_by_three_axes(op: Any, keys: Any, first: Any, last: Any) -> Any:
    shape = op.Shape(keys, _outputs=["shape"])
    length, width = op.Slice(shape, [-2], [-1]), op.Slice(shape, [-1], last)
    turned = op.Transpose(op.Reshape(keys, op.Concat([-1], length, width, axis=0)), perm=[0, 2, 1])
    return op.Reshape(turned, op.Concat(op.Slice(shape, first, [-2]), width, length, axis=0))


def _is_transposition(
    context: Any, keys: "Value", shape: "ir.Value", first: "Value", last: "Value", **_: Any
) -> bool:
    node, start, stop = shape.producer(), numbers_of(first), numbers_of(last)
    assert node is not None
    whole = node.attributes.get_int("start", 0) == 0 and "end" not in node.attributes
    return whole and len(shape_of(keys)) == 4 and start is not None and start[0] < -4 and stop == [2**63 - 1]


def _transposed(op: Any, keys: "Value", **_: Any) -> Any:
    return op.Transpose(keys, perm=[0, 1, 3, 2])


def _cast_like(op: Any, constant: Any, like: Any) -> Any:
    return op.CastLike(constant, like)


def _has_that_type(context: Any, constant: "Value", like: "Value", **_: Any) -> bool:
    assert constant is not None
    while like is not None and like.dtype is None:
        node = like.producer()
        like = node.inputs[0] if node is not None and node.op_type in _KEEP_TYPE else None
    return constant.const_value is not None and like is not None and constant.const_value.dtype == like.dtype


def _as_it_is(op: Any, constant: "Value", **_: Any) -> Any:
    return op.Identity(constant)


def _spatial_mean(op: Any, x: Any, axes: Any) -> Any:
    return op.ReduceMean(x, axes, _outputs=["mean"])


def _is_over_the_image(context: Any, x: "Value", axes: "Value", **_: Any) -> bool:
    numbers = numbers_of(axes)
    return len(shape_of(x)) == 4 and numbers is not None and sorted(axis % 4 for axis in numbers) == [2, 3]


def _global_average(op: Any, x: "Value", mean: "ir.Value", **_: Any) -> Any:
    node = mean.producer()
    assert node is not None
    average = op.GlobalAveragePool(x)
    return average if node.attributes.get_int("keepdims", 1) else op.Flatten(average)


def shape_of(value: "Value") -> list[Any]:
    """Numbers and names of the axes; none where they are unknown."""
    return [] if value is None or value.shape is None else list(value.shape)


def numbers_of(value: "Value") -> list[int] | None:
    """The elements of a constant."""
    constant = None if value is None else value.const_value
    return None if constant is None else [int(each) for each in constant.numpy().flatten()]
