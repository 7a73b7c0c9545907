"""What ONNX Runtime makes of a graph on this machine: which operators it runs, and in which numbers."""

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from compactor_runtimes.backends import open_runtime
from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    import onnx

_LAYERS = ("Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul")
_INTEGER = {
    *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention"),
}
_FLOAT = {*_LAYERS, "Attention", "MultiHeadAttention"}


def optimised_graph(path: Path, level: Literal["extended", "all"]) -> "onnx.GraphProto":
    """Open an ONNX file on the CPU and return what became of its graph.

    Args:
        path: an ONNX file that ONNX Runtime can open.
        level: `extended` leaves the layout alone, `all` is what a session runs.
    """
    with needs_extra("export"):
        import onnx

    with TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        open_runtime("ort-cpu", path, optimization=level, optimised=optimised).close()
        return onnx.load(optimised).graph


def note_on_fp16(path: Path) -> str | None:
    """Say that a float16 graph is computed in float32 with casts, as it is as a rule; None where it is not.

    Args:
        path: a float16 ONNX file that ONNX Runtime can open.
    """
    with needs_extra("export"):
        import onnx

    graph = optimised_graph(path, "all")
    types = {each.name: each.data_type for each in graph.initializer}
    layers = [node for node in graph.node if node.op_type in _LAYERS]
    weights = [{types[name] for name in node.input if name in types} for node in layers]
    single = sum(onnx.TensorProto.FLOAT in each for each in weights)
    half = sum(onnx.TensorProto.FLOAT16 in each for each in weights)
    if single <= half:
        return None
    casts = sum(node.op_type == "Cast" for node in graph.node)
    return (
        f"ONNX Runtime {version('onnxruntime')} on this CPU computes {single} of {single + half} layers in "
        f"float32 and casts {casts} times a run: a smaller file, the same arithmetic"
    )


def int8_placement(path: Path) -> dict[str, int]:
    """Let ONNX Runtime optimise a quantised graph and count what is left.

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
