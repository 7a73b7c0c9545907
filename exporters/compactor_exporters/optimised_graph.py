"""The graph as ONNX Runtime optimises it on this machine: which operators it really runs."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from compactor_runtimes.backends.ort import QUIET
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing

if TYPE_CHECKING:
    import onnx


def optimised_graph(path: Path, level: Literal["extended", "all"]) -> "onnx.GraphProto":
    """Open an ONNX file on the CPU and return what became of its graph.

    Args:
        path: an ONNX file that ONNX Runtime can open.
        level: `extended` leaves the layout alone, `all` is what a session runs.
    """
    with needs_extra("export"):
        import onnx
    with needs_extra("ort"):
        import onnxruntime as ort

    levels = {
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    options.graph_optimization_level = levels[level]
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        with writing(Path(folder)):
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath).graph
