"""Where ONNX Runtime really computes in 8 bits: what it makes of a quantised graph on this machine."""

from collections import Counter
from pathlib import Path

from compactor_exporters.optimised_graph import optimised_graph

_INTEGER = {
    *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention"),
}
_FLOAT = {
    "Conv",
    "FusedConv",
    "MatMul",
    "FusedMatMul",
    "Gemm",
    "FusedGemm",
    "Attention",
    "MultiHeadAttention",
}


def placement(path: Path) -> dict[str, int]:
    """Let ONNX Runtime optimise the graph and count what is left.

    Returns:
        `int8_ops`: products in 8 bits; `float_ops`: products that stayed in float; `unfused_pairs`:
        DequantizeLinear nodes that no operator took in, each of which converts numbers at every run. One that
        gives an output of the graph is not counted: outputs are in float, whatever is before them.
    """
    graph = optimised_graph(path, "extended")
    counts = Counter(node.op_type for node in graph.node)
    outputs = {port.name for port in graph.output}
    return {
        "int8_ops": sum(counts[name] for name in _INTEGER),
        "float_ops": sum(counts[name] for name in _FLOAT),
        "unfused_pairs": sum(
            node.op_type == "DequantizeLinear" and node.output[0] not in outputs for node in graph.node
        ),
    }
