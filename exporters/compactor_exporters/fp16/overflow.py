"""Which nodes of a graph must stay in float32 when the rest becomes float16; `export.py` converts it.

1. Operators that normalise, or add up many values, stay: their sums overflow where inputs and outputs do not.
2. So does a normalisation spelled out in small operators, from the square to the division: the square of 1e-4
   is zero in float16, and the square of 300 infinite.
3. A node with a constant beyond the largest float16 stays (a mask of -3.4e38 would become -inf), and so does
   one whose constant is nothing but numbers below the smallest normal float16 (an epsilon would become zero),
   together with what reads its result (a logarithm, a division).
4. What a mask beyond float16 is added to or multiplied with stays as well, wherever the samples have it off.
5. A node that takes or gives a magnitude above `HEADROOM` of the largest float16 on real samples stays.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from compactor_exporters.verify.findings import Arrays, largest_magnitude
from compactor_exporters.verify.samples import batches
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

LARGEST, SMALLEST_NORMAL = 65504.0, 2.0**-14
HEADROOM = 0.25  # inputs in production are not the samples at hand

SUMS = "normalises or sums up"
CHAIN = "part of a normalisation"
OVERFLOW = "constant beyond float16"
UNDERFLOW = "constant below float16"
MASK = "beside a mask beyond float16"
LARGE = "large on real samples"

_SUMMING = {
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "RMSNormalization",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
}
_ROOTS = {"Sqrt", "ReduceL2"}
_BEFORE_ROOT = {"Add", "Clip", "Div", "Max", "Pow", "ReduceMean", "ReduceSum", "ReduceSumSquare"}
_AFTER_ROOT = {"Add", "Clip", "Expand", "Max", "Reciprocal", "Unsqueeze"}
_MASKING = {"Add", "Div", "Mul", "Sub", "Where"}
_RESHAPING = {"Cast", "Concat", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}


def largest_activations(path: Path, feeds: Arrays, *, batch: int) -> dict[str, float]:
    """Run a graph and return the largest finite magnitude of every float tensor in it.

    Args:
        path: the ONNX file.
        feeds: samples, one array [N, ...] for each input.
        batch: samples in one run; few, since every tensor of a run is held at once.
    """
    with needs_extra("export"):
        import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    made = {name for node in model.graph.node for name in node.output}
    known = {port.name for port in model.graph.output}
    inside = [value for value in model.graph.value_info if value.name in made - known]
    model.graph.output.extend(
        value for value in inside if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    )
    largest: dict[str, float] = {}

    def note(arrays: Arrays) -> None:
        for name, values in arrays.items():
            if values.dtype.kind == "f":
                largest[name] = max(largest.get(name, 0.0), largest_magnitude(values))

    with TemporaryDirectory() as folder:
        every = Path(folder) / "every-tensor.onnx"
        with writing(every):
            onnx.save_model(model, every)
        runtime = open_runtime("ort-cpu", every, optimization="none")
        for part in batches(feeds, batch):
            note(part)
            note(runtime.run(part))
        runtime.close()
    return largest


def kept_in_fp32(graph: "ir.Graph", largest: Mapping[str, float]) -> "dict[str, list[ir.Node]]":
    """Apply rules 1 to 5.

    Args:
        graph: in float32.
        largest: magnitudes of its tensors on real samples.

    Returns:
        Nodes by the first rule that keeps them, in the order of the graph.
    """
    nodes = list(graph)
    extremes = {node: _constants(node) for node in nodes}
    overflow = {node for node in nodes if any(high > LARGEST for high in extremes[node])}
    tiny = {node for node in nodes if any(0 < high < SMALLEST_NORMAL for high in extremes[node])}
    rules = {
        SUMS: {node for node in nodes if node.op_type in _SUMMING},
        CHAIN: _normalisations(nodes),
        OVERFLOW: overflow,
        UNDERFLOW: _with_readers(tiny),
        MASK: _masked(overflow),
        LARGE: {
            node
            for node in nodes
            if any(largest.get(value.name or "", 0.0) > HEADROOM * LARGEST for value in _values(node))
        },
    }
    kept: dict[str, list[ir.Node]] = {}
    for node in nodes:
        reason = next((reason for reason, group in rules.items() if node in group), None)
        if reason is not None:
            kept.setdefault(reason, []).append(node)
    return kept


def _constants(node: "ir.Node") -> list[float]:
    """Largest finite magnitude of each float constant that a node reads."""
    tensors = [value.const_value for value in node.inputs if value is not None]
    tensors += [attribute.value for attribute in node.attributes.values() if attribute.type.name == "TENSOR"]
    arrays: list[NDArray[Any]] = [tensor.numpy() for tensor in tensors if tensor is not None]
    return [largest_magnitude(values) for values in arrays if values.dtype.name == "float32"]


def _values(node: "ir.Node") -> "Iterator[ir.Value]":
    yield from (value for value in node.inputs if value is not None)
    yield from node.outputs


def _normalisations(nodes: "Iterable[ir.Node]") -> "set[ir.Node]":
    """Rule 2: around each root, back to the square and on to the division."""
    found: set[ir.Node] = set()
    for root in (node for node in nodes if node.op_type in _ROOTS):
        found.add(root)
        before = _before(root)
        while before:
            node = before.pop()
            squares = node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
            if node not in found and (squares or node.op_type in _BEFORE_ROOT):
                found.add(node)
                before += [] if squares or node.op_type in ("Pow", "ReduceSumSquare") else _before(node)
        after = _after(root)
        while after:
            node = after.pop()
            if node not in found and node.op_type in ("Div", "Mul"):
                found.add(node)
            elif node not in found and node.op_type in _AFTER_ROOT:
                found.add(node)
                after += _after(node)
    return found


def _with_readers(tiny: "set[ir.Node]") -> "set[ir.Node]":
    """Rule 3: nodes with an epsilon, and those that read their results, be it in another shape."""
    found = set(tiny)
    ahead = [after for node in tiny for after in _after(node)]
    while ahead:
        node = ahead.pop()
        ahead += _after(node) if node not in found and node.op_type in _RESHAPING else []
        found.add(node)
    return found


def _masked(overflow: "Iterable[ir.Node]") -> "set[ir.Node]":
    """Rule 4: nodes that a mask reaches through arithmetic and changes of shape."""
    found: set[ir.Node] = set()
    ahead = [after for node in overflow if node.op_type in _MASKING | _RESHAPING for after in _after(node)]
    while ahead:
        node = ahead.pop()
        if node not in found and node.op_type in _MASKING | _RESHAPING:
            found.add(node)
            ahead += _after(node)
    return found


def _before(node: "ir.Node") -> "list[ir.Node]":
    producers = [value.producer() for value in node.inputs if value is not None]
    return [producer for producer in producers if producer is not None]


def _after(node: "ir.Node") -> "list[ir.Node]":
    return [user for value in node.outputs for user, _ in value.uses()]
