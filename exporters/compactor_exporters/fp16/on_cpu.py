"""What ONNX Runtime makes of a float16 graph on this CPU: float32 with casts, as a rule."""

from importlib.metadata import version
from pathlib import Path

from compactor_exporters.optimised_graph import optimised_graph
from compactor_runtimes.errors import needs_extra

_LAYERS = ("Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul")


def note_on_cpu(path: Path) -> str | None:
    """Look at the graph as ONNX Runtime optimises it; None where its layers do run in float16.

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
