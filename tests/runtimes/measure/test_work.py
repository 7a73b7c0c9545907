"""Work of a graph: operations and bytes against counts by hand, and against torch's own counter."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.measure.anatomy import Peaks, Work
from compactor_runtimes.measure.onnx_weights import read_weights
from compactor_runtimes.measure.operators import Node
from compactor_runtimes.measure.work import count_work, flops_of, roofline

MICROSOFT = "com.microsoft"


@pytest.fixture
def save(tmp_path):
    """Write a graph of nodes and weights with one output `y` of any shape."""

    def write(nodes, inputs, weights, *, kind=TensorProto.FLOAT, **settings):
        graph = helper.make_graph(
            nodes,
            "counted",
            [helper.make_tensor_value_info(name, *port) for name, port in inputs.items()],
            [helper.make_tensor_value_info("y", kind, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        path = tmp_path / "counted.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path, **settings)
        return path

    return write


def test_a_grouped_convolution_and_a_linear_layer(save):
    path = save(
        [
            helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], strides=[2, 2], group=2),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "matrix", "offset"], ["y"], transB=1),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 4, 9, 9])},
        {
            "kernel": np.ones((6, 2, 3, 3), np.float32),
            "bias": np.ones(6, np.float32),
            "matrix": np.ones((10, 96), np.float32),
            "offset": np.ones(10, np.float32),
        },
    )
    found = count_work(path, {"x": np.ones((1, 4, 9, 9), np.float32)})
    # 6 maps of 4 x 4, each number from 2 channels x 3 x 3; then 96 x 10
    assert found.flops == 2 * 6 * 4 * 4 * (2 * 3 * 3) + 2 * 96 * 10
    weights = 6 * 2 * 9 + 6 + 10 * 96 + 10
    assert found.bytes == 4 * (weights + 4 * 9 * 9 + 10)
    assert "ONNX Runtime" in found.counted_by


def test_a_transposed_convolution(save):
    path = save(
        [helper.make_node("ConvTranspose", ["x", "kernel"], ["y"], strides=[2, 2])],
        {"x": (TensorProto.FLOAT, [1, 3, 5, 5])},
        {"kernel": np.ones((3, 7, 2, 2), np.float32)},
    )
    found = count_work(path, {"x": np.ones((1, 3, 5, 5), np.float32)})
    assert found.flops == 2 * (3 * 5 * 5) * 7 * 2 * 2


def test_attention_built_of_products(save):
    path = save(
        [
            helper.make_node("Transpose", ["x"], ["k"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", ["x", "k"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
            helper.make_node("MatMul", ["p", "x"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 2, "tokens", 8])},
        {},
    )
    found = count_work(path, {"x": np.ones((1, 2, 5, 8), np.float32)})
    assert found.flops == 2 * (2 * 2 * 5 * 5 * 8)
    assert found.bytes == 2 * (4 * 2 * 5 * 8)


def test_8_bit_products_and_weights_of_one_byte(save):
    scale, zero = np.float32(0.1), np.uint8(0)
    path = save(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("ConvInteger", ["q", "kernel", "z"], ["a"]),
            helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("QuantizeLinear", ["b", "scale", "zero"], ["c"]),
            helper.make_node(
                "QLinearConv",
                ["c", "scale", "zero", "kernel2", "scale", "signed", "scale", "zero"],
                ["d"],
            ),
            helper.make_node("Flatten", ["d"], ["e"]),
            helper.make_node("MatMulInteger", ["e", "matrix"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 2, 4, 4])},
        {
            "kernel": np.ones((3, 2, 2, 2), np.uint8),
            "kernel2": np.ones((5, 3, 2, 2), np.int8),
            "matrix": np.ones((20, 7), np.int8),
            "scale": np.array(scale),
            "zero": np.array(zero),
            "signed": np.array(0, np.int8),
        },
        kind=TensorProto.INT32,
    )
    found = count_work(path, {"x": np.ones((1, 2, 4, 4), np.float32)})
    assert found.flops == 2 * (3 * 9) * (2 * 4) + 2 * (5 * 4) * (3 * 4) + 2 * 20 * 7
    assert found.bytes == (24 + 60 + 140 + 4 + 1 + 1) + 4 * 32 + 4 * 7


def test_a_quantised_graph_counts_as_its_float_one(save):
    path = save(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("DequantizeLinear", ["matrix", "scale", "zero"], ["w"]),
            helper.make_node("MatMul", ["d", "w"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 6])},
        {
            "matrix": np.ones((6, 4), np.int8),
            "scale": np.array(0.1, np.float32),
            "zero": np.array(0, np.int8),
        },
    )
    found = count_work(path, {"x": np.ones((1, 6), np.float32)})
    assert found.flops == 2 * 6 * 4
    assert found.bytes == (24 + 4 + 1) + 4 * 6 + 4 * 4


def test_onnx_runtimes_own_attention_is_a_whole_layer(save):
    width, tokens = 8, 5
    path = save(
        [helper.make_node("Attention", ["x", "packed", "bias"], ["y"], domain=MICROSOFT, num_heads=2)],
        {"x": (TensorProto.FLOAT, [1, tokens, width])},
        {"packed": np.ones((width, 3 * width), np.float32), "bias": np.ones(3 * width, np.float32)},
    )
    found = count_work(path, {"x": np.ones((1, tokens, width), np.float32)})
    assert found.flops == 2 * tokens * width * 3 * width + 2 * (2 * tokens * tokens * width)


def test_a_table_that_is_looked_up_counts_with_its_rows(save):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="look"),
        helper.make_node("MatMul", ["rows", "matrix"], ["y"]),
    ]
    weights = {"table": np.ones((1000, 4), np.float32), "matrix": np.ones((4, 3), np.float32)}
    ids = {"ids": np.array([[3, 999]], np.int64)}
    path = save(nodes, {"ids": (TensorProto.INT64, [1, 2])}, weights)
    assert count_work(path, ids).bytes == 4 * (2 * 4 + 12) + 2 * 8 + 4 * 6
    # where another node reads all of it, all of it moves
    tied = [
        nodes[0],
        helper.make_node("Transpose", ["table"], ["turned"]),
        helper.make_node("MatMul", ["rows", "turned"], ["y"]),
    ]
    path = save(tied, {"ids": (TensorProto.INT64, [1, 2])}, weights)
    assert count_work(path, ids).bytes == 4 * (4000 + 12) + 2 * 8 + 4 * 2000


def test_what_its_shapes_do_not_tell_is_not_counted(save):
    path = save(
        [helper.make_node("Einsum", ["x", "x"], ["y"], equation="ij,kj->ik")],
        {"x": (TensorProto.FLOAT, [2, 3])},
        {},
    )
    assert count_work(path, {"x": np.ones((2, 3), np.float32)}) is None
    assert count_work(path.with_name("model.engine"), {}) is None


def node(kind, inputs, output):
    def given(shapes):
        return [("float", shape) for shape in shapes]

    return Node("a", kind, "CPU", given(inputs), given([output]), 1)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "flops"),
    [
        ("MatMul", [[3], [3]], [], 2 * 3),
        ("MatMul", [[2, 3], [3]], [2], 2 * 2 * 3),
        ("MatMul", [[3], [3, 4]], [4], 2 * 3 * 4),
        ("MatMul", [[0, 3], [3, 4]], [0, 4], 0),
        ("FusedMatMul", [[3, 2], [3, 4]], [2, 4], 2 * 2 * 3 * 4),  # the first is transposed
        ("QLinearMatMul", [[2, 3], [], [], [3, 4], [], [], [], []], [2, 4], 2 * 2 * 3 * 4),
        ("Gemm", [[3, 2], [3, 4]], [2, 4], 2 * 2 * 3 * 4),
        ("Attention", [[1, 2, 5, 8], [1, 2, 7, 8], [1, 2, 7, 6]], [1, 2, 5, 6], 2 * 2 * 5 * 7 * (8 + 6)),
        ("MultiHeadAttention", [[1, 5, 8], [1, 7, 8], [1, 7, 6]], [1, 5, 6], 2 * 5 * 7 * (8 + 6)),
        ("LSTM", [[9, 2, 3], [1, 16, 3], [1, 16, 4]], [9, 1, 2, 4], 2 * 9 * 2 * (16 * 3 + 16 * 4)),
        ("Relu", [[100]], [100], 0),
    ],
)
def test_operations_by_shapes(kind, inputs, output, flops):
    assert flops_of(node(kind, inputs, output)) == flops


def test_weights_of_a_file_in_any_place_and_type(save, tmp_path):
    weights = {
        "half": np.ones((3, 5), np.float16),
        "scalar": np.array(1.0, np.float64),
        "large": np.ones((40, 40), np.float32),
        "none": np.ones((0, 4), np.float32),
    }
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ports = {"x": (TensorProto.FLOAT, [1])}
    expected = {name: value.nbytes for name, value in weights.items()}
    assert read_weights(save(nodes, ports, weights)).sizes == expected
    external = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 100}
    path = save(nodes, ports, weights, **external)
    assert (tmp_path / "weights.bin").stat().st_size >= expected["large"]
    assert read_weights(path).sizes == expected


@pytest.mark.parametrize("content", [b"", b"garbage" * 20, b"\x3a\xff\x01", b"\x3a"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="cannot be read as an ONNX model") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_counts_what_torch_counts(tmp_path):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.depth = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.up = torch.nn.ConvTranspose2d(8, 4, 2, stride=2)
            self.linear = torch.nn.Linear(4, 6)

        def forward(self, x):
            maps = self.up(torch.relu(self.depth(self.conv(x))))
            tokens = maps.flatten(2).transpose(1, 2)
            weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
            return self.linear(weights @ tokens)

    torch.manual_seed(0)
    net, x = Net().eval(), torch.rand(1, 3, 8, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False, input_names=["x"])
    found = count_work(tmp_path / "net.onnx", {"x": x.numpy()})
    assert found.flops == counter.get_total_flops() > 10_000


def test_the_floor_is_the_slower_of_the_two():
    peaks = Peaks(flops_per_s=1e11, bytes_per_s=1e10, threads=1, measured_by="hand")
    slow = roofline(Work(flops=2_000_000, bytes=100_000, counted_by="hand"), peaks)
    assert (slow.floor_ns, slow.bound) == (pytest.approx(20_000), "compute")
    starved = roofline(Work(flops=2_000_000, bytes=400_000, counted_by="hand"), peaks)
    assert (starved.floor_ns, starved.bound) == (pytest.approx(40_000), "memory")
