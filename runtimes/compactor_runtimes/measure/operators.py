"""What a runtime tells of its operators: their times, and on what and in which number types a graph ran.

The backends read it from their runtimes (`backends.operators_of`); here it becomes records.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from compactor_runtimes.measure.anatomy import OperatorTime, Placement

# In the words of ONNX Runtime and of OpenVINO: what computes no number, but moves it, reads a shape, or
# writes it in another type.
MOVERS = frozenset(
    (
        *("Broadcast", "Cast", "CastLike", "Concat", "Concatenation", "Const", "Constant"),
        *("ConstantOfShape", "Convert", "DepthToSpace", "DequantizeLinear"),
        *("DynamicQuantizeLinear", "Expand", "FakeQuantize", "Flatten", "Gather", "GatherElements"),
        *("GatherND", "Identity", "Input", "MemcpyFromHost", "MemcpyToHost", "Output", "Pad"),
        *("Parameter", "QuantizeLinear", "Reorder", "ReorderInput", "ReorderOutput", "Reshape"),
        *("Result", "ScatterElements", "ScatterND", "Shape", "ShapeOf", "Size", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "StridedSlice", "Tile", "Transpose", "Unsqueeze"),
        "VariadicSplit",
    )
)


Shapes = list[tuple[str, list[int]]]


class Node(NamedTuple):
    """One execution of one node; shapes are (type in the runtime's words, axes), of what is given alone."""

    name: str
    kind: str
    provider: str
    inputs: Shapes
    outputs: Shapes
    ns: int


class Operators(NamedTuple):
    """Operators in the order of their first run, and the placement that they add up to."""

    operators: list[OperatorTime]
    placement: Placement


def place(asked: str, operators: Sequence[OperatorTime]) -> Operators:
    """Add up a placement: the share of operators on `asked`, and number types of those that compute.

    What does not say its type counts under "".
    """
    types = Counter(each.precision for each in operators if each.kind not in MOVERS)
    here = sum(each.provider == asked for each in operators)
    computing = types.total()
    return Operators(
        list(operators),
        Placement(
            asked=asked,
            share=here / len(operators) if operators else 0.0,
            precisions={name: count / computing for name, count in sorted(types.items())},
        ),
    )
