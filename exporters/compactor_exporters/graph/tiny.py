"""A tiny ONNX graph, y = relu(x @ weight), for trying a product out where there is no student."""

from pathlib import Path

from compactor_runtimes.bundle.manifest import InputPort
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing


def write_tiny_graph(path: Path) -> InputPort:
    """Write the graph and return its one input, float32 [batch, 64]; its output is `y`, [batch, 10].

    Raises:
        MissingDependency: onnx is not installed.
    """
    import numpy as np

    with needs_extra("export"):
        import onnx
        from onnx import helper

    weight = np.random.default_rng(0).random((64, 10), np.float32)
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width])
        for name, width in (("x", 64), ("y", 10))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Relu", ["product"], ["y"]),
    ]
    held = [onnx.numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], held)
    opset = helper.make_opsetid("", 18)
    with writing(path):
        onnx.save_model(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return InputPort(name="x", dtype="float32", axes=["batch", 64], min=[1, 64], max=[16, 64], role="image")
