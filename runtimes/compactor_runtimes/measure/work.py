"""What a graph has to do for one sample: operations of its products, and bytes that must move.

Operations are those of convolutions, matrix products and what is made of them (attention, recurrent layers),
a multiply-add counted as 2; sums, activations and normalisations are not counted, as is the custom. Shapes
are those that ONNX Runtime met in running the graph as it is written.
"""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from compactor_runtimes.backends import executed_nodes
from compactor_runtimes.measure.anatomy import Peaks, Roofline, Work
from compactor_runtimes.measure.onnx_weights import read_weights
from compactor_runtimes.measure.operators import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

Axes = list[int]


class Seen(NamedTuple):
    """Axes of what a node read, by place, and of its first output."""

    inputs: list[Axes]
    output: Axes


def convolution(seen: Seen, kernel: int = 1) -> int:
    """Each output is a product over the kernel [out, in / groups, ...]."""
    return 2 * prod(seen.output) * prod(seen.inputs[kernel][1:])


def transposed(seen: Seen) -> int:
    """Each input is spread over the kernel [in, out / groups, ...]."""
    return 2 * prod(seen.inputs[0]) * prod(seen.inputs[1][1:])


def gemm(seen: Seen) -> int:
    """[M, K] (or transposed) times [K, N]: each number of the first meets N."""
    return 2 * prod(seen.inputs[0]) * seen.output[-1]


def product(seen: Seen, second: int = 1) -> int:
    """[..., M, K] times [..., K, N]; a fused one may transpose the first."""
    if not prod(seen.output):
        return 0
    first, other = seen.inputs[0], seen.inputs[second]
    if len(first) < 2 or len(other) < 2:
        return 2 * prod(seen.output) * (first if len(first) < 2 else other)[-1]
    return 2 * prod(seen.output) * (first[-2] * first[-1] // seen.output[-2])


def attention(seen: Seen) -> int:
    """Queries times keys, and their weights times values: [batch, (heads,) tokens, width] each.

    ONNX Runtime's own takes a whole layer: [batch, tokens, width] and packed weights [width, all widths].
    """
    first, second = seen.inputs[:2]
    if len(second) == 2:
        batch, tokens, width = first
        value_width = seen.output[-1]
        query_width = (second[1] - value_width) // 2
        projected = 2 * batch * tokens * width * second[1]
        return projected + 2 * batch * tokens * tokens * (query_width + value_width)
    return 2 * second[-2] * (prod(first) + prod(seen.output))


def recurrent(seen: Seen) -> int:
    """Every step multiplies the input by W and the state by R; x is [steps, batch, width]."""
    steps, batch = seen.inputs[0][:2]
    return 2 * steps * batch * (prod(seen.inputs[1]) + prod(seen.inputs[2]))


COUNTED: dict[str, Callable[[Seen], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), convolution),
    "QLinearConv": lambda seen: convolution(seen, kernel=3),
    "ConvTranspose": transposed,
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), gemm),
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), product
    ),
    "QLinearMatMul": lambda seen: product(seen, second=3),
    **dict.fromkeys(("Attention", "QAttention", "MultiHeadAttention"), attention),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), recurrent),
}
"""Kind of a node -> its operations."""

UNKNOWN = {
    *("Einsum", "DeformConv", "MatMulNBits", "MatMulBnb4", "GroupQueryAttention", "PackedAttention"),
    *("PackedMultiHeadAttention", "QLinearConvTranspose", "DynamicQuantizeLSTM", "MoE", "QMoE"),
    *("STFT", "DFT"),
}
"""Kinds whose shapes do not tell their operations: a graph that has one is not counted."""


def count_work(source: Path, feeds: "Mapping[str, NDArray[Any]]") -> Work | None:
    """Count what one sample asks of a graph.

    Args:
        source: an .onnx file.
        feeds: arrays of one sample by name of input.

    Returns:
        its work; None where the file is of another format, or the graph has a product that is not known here.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError: the file is missing or damaged.
        MissingDependency: ONNX Runtime is not installed.
    """
    if source.suffix != ".onnx":
        return None
    nodes, outputs = executed_nodes(source, feeds)
    if any(node.kind in UNKNOWN for node in nodes):
        return None
    ports = sum(array.nbytes for array in (*feeds.values(), *outputs.values()))
    return Work(
        flops=sum(flops_of(node) for node in nodes),
        bytes=weight_bytes(source, nodes) + ports,
        counted_by="shapes of ONNX Runtime's profiler",
    )


def weight_bytes(source: Path, nodes: list[Node]) -> int:
    """Bytes of the weights that one run reads: all, but of a table that is looked up the rows alone."""
    weights = read_weights(source)
    rows: dict[str, int] = {}
    for node in nodes:
        table = weights.lookups.get(node.name)
        elements = prod(node.inputs[0][1]) if table is not None else 0
        if table is not None and elements:
            read = weights.sizes[table] * prod(node.outputs[0][1]) // elements
            rows[table] = rows.get(table, 0) + read
    return sum(min(size, rows.get(name, size)) for name, size in weights.sizes.items())


def flops_of(node: Node) -> int:
    """Operations of one node as it ran; 0 for what is not a product."""
    count = COUNTED.get(node.kind)
    if count is None:
        return 0
    return count(Seen([axes for _, axes in node.inputs], node.outputs[0][1]))


def roofline(work: Work, peaks: Peaks) -> Roofline:
    """Say how long the work takes at least at these peaks, and which of the two bounds it."""
    compute_ns = work.flops / peaks.flops_per_s * 1e9
    memory_ns = work.bytes / peaks.bytes_per_s * 1e9
    return Roofline(
        work=work,
        peaks=peaks,
        floor_ns=max(compute_ns, memory_ns),
        bound="compute" if compute_ns >= memory_ns else "memory",
    )
