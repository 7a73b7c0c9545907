"""Operators: each runtime that says so tells its operators, their types, and leaves no file behind."""

import tempfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compactor_runtimes.backends import RUNTIMES, operators_of
from compactor_runtimes.backends.ort_operators import Node, precision_of, to_operators
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.measure.anatomy import OperatorTime
from compactor_runtimes.measure.operators import place

FEEDS = {"x": np.ones((1, 3, 8, 8), np.float32)}


@pytest.fixture
def source(tmp_path):
    """Conv 3 -> 4 (3 x 3), Relu, Flatten and a linear layer to 5."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "matrix": random.standard_normal((4 * 8 * 8, 5)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
            helper.make_node("MatMul", ["f", "matrix"], ["y"], name="linear"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_row_tells_its_operators_or_says_why_not(runtime, source, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    try:
        found = operators_of(runtime, source, FEEDS, threads=1, runs=2)
    except UnfitEnvironmentError as error:
        assert runtime not in ("ort-cpu", "openvino")
        said = str(error)
        assert "\n" not in said
        pytest.skip(said)
    assert {"Conv", "Convolution"} & {each.kind for each in found.operators}
    assert sum(each.ns for each in found.operators) > 0
    assert found.placement.share == 1.0
    assert {each.provider for each in found.operators} == {found.placement.asked}
    assert found.placement.precisions == {RUNTIMES[runtime].precision or "f32": 1.0}
    assert not list((tmp_path / "temporary").iterdir())


def test_names_of_unoptimised_operators_are_those_of_the_graph(source):
    found = operators_of("ort-cpu", source, FEEDS, threads=1, optimization="none")
    assert [(each.name, each.kind) for each in found.operators] == [
        ("conv", "Conv"),
        ("relu", "Relu"),
        ("flatten", "Flatten"),
        ("linear", "MatMul"),
    ]


def test_what_tells_no_times_says_so(source):
    for runtime in ("tensorrt", "package.module:opener"):
        with pytest.raises(UnfitEnvironmentError, match="tells no times of its operators; measure it as a"):
            operators_of(runtime, source, FEEDS)
    with pytest.raises(UsageError, match="unknown runtime 'openvno'"):
        operators_of("openvno", source, FEEDS)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino"])
def test_refusals_are_those_of_opening_and_running_and_no_file_stays(runtime, source, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(UsageError, match="the graph refuses"):
        operators_of(runtime, source, {"x": np.ones((1, 3, 8, 9), np.float32)})
    with pytest.raises(IntegrityError, match="no such file"):
        operators_of(runtime, source.with_name("none.onnx"), FEEDS)
    assert not list((tmp_path / "temporary").iterdir())


def node(name, kind, inputs, outputs, ns=0):
    return Node(name, kind, "CPU", [(one, [1]) for one in inputs], [(one, [1]) for one in outputs], ns)


def test_times_are_means_over_runs_and_sums_within_one():
    first, again = node("a", "Add", ["float"], ["float"], 100), node("a", "Add", ["float"], ["float"], 300)
    other = node("b", "Mul", ["float"], ["float"], 50)
    found = to_operators([[first, first, other], [again, again, other]])
    assert [(each.name, each.ns) for each in found] == [("a", 400.0), ("b", 50.0)]


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "precision"),
    [
        ("Conv", ["float", "float"], ["float"], "f32"),
        ("Where", ["bool", "float16", "float16"], ["float16"], "f16"),
        ("QLinearConv", ["uint8", "float", "uint8"], ["uint8"], "i8"),
        ("MatMulIntegerToFloat", ["uint8", "int8", "float"], ["float"], "i8"),
        ("Add", ["int64", "int64"], ["int64"], "i64"),
        ("Greater", ["int32", "int32"], ["bool"], "bool"),
        ("Nothing", [], [], ""),
    ],
)
def test_the_type_of_an_operator_is_what_it_computes_in(kind, inputs, outputs, precision):
    assert precision_of(node("a", kind, inputs, outputs)) == precision


def test_placement_leaves_out_what_only_moves_data():
    def timed(kind, provider, precision):
        return OperatorTime(name=kind, kind=kind, provider=provider, precision=precision, ns=1.0)

    found = place(
        "GPU",
        [
            timed("Conv", "GPU", "f16"),
            timed("MatMul", "GPU", "f16"),
            timed("Softmax", "CPU", "f32"),
            timed("Fused", "GPU", ""),
            timed("Reshape", "CPU", "f32"),
        ],
    )
    assert found.placement.share == pytest.approx(3 / 5)
    assert found.placement.precisions == {"": 0.25, "f16": 0.5, "f32": 0.25}
    assert place("GPU", []).placement.share == 0.0
