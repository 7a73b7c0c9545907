"""What number types a graph holds, counted on graphs made by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from compactor_exporters.graph.weight_types import judge_precision, weight_bytes


def graph(path, *arrays: np.ndarray):
    """A file that holds these constants, the last of them in a Constant node."""
    *kept, last = [from_array(values, f"weight-{number}") for number, values in enumerate(arrays)]
    nodes = [
        helper.make_node("Constant", [], ["constant"], value=last),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], kept)), path)
    return path


def test_bytes_by_type(tmp_path):
    path = graph(
        tmp_path / "g.onnx", np.zeros((3, 5), np.float32), np.zeros(7, np.float16), np.zeros(2, np.int8)
    )
    assert weight_bytes(path) == {"float32": 60, "float16": 14, "int8": 2}


@pytest.mark.parametrize(
    ("precision", "kinds", "share"),
    [
        ("fp16", {np.float16: 60, np.float32: 40}, 0.6),
        ("fp16", {np.float16: 40, np.float32: 60}, 0.4),
        ("fp16", {np.float32: 10}, 0.0),
        ("int8", {np.int8: 30, np.uint8: 30, np.float32: 40}, 0.6),
        ("int8", {np.int8: 50, np.float32: 50}, 0.5),  # by number, not by bytes
        ("int8", {np.int8: 10, np.int64: 1000}, 1.0),  # shapes and indices are no weights
        ("fp32", {np.float32: 10}, 1.0),
    ],
)
def test_half_of_the_weights_decide(tmp_path, precision, kinds, share):
    path = graph(tmp_path / "g.onnx", *(np.zeros(count, kind) for kind, count in kinds.items()))
    check = judge_precision(path, precision)
    assert (check.name, check.value, check.limit) == ("precision", share, 0.5)
    assert check.passed is (share >= 0.5)
    assert check.detail.startswith(f"asked for {precision}, weights found: ")


def test_a_graph_without_weights_has_no_precision(tmp_path):
    path = graph(tmp_path / "g.onnx", np.zeros(3, np.int64))
    check = judge_precision(path, "fp16")
    assert (check.passed, check.detail) == (False, "asked for fp16, weights found: none")
