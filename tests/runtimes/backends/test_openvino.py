"""OpenVINO: precision and threads are as asked for, damage is one sentence, and its telemetry is off."""

import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compactor_runtimes.backends import open_runtime, openvino, openvino_precisions
from compactor_runtimes.errors import IntegrityError, MissingDependency, UnfitEnvironmentError, UsageError


@pytest.fixture
def source(tmp_path, make_classifier):
    path = tmp_path / "model.onnx"
    onnx.save(make_classifier(), path)
    return path


def compiled(runtime):
    return runtime._request.get_compiled_model()


def test_floats_stay_float32_and_threads_are_honoured(source):
    for threads in (1, 2):
        model = compiled(open_runtime("openvino", source, threads=threads))
        assert model.get_property("INFERENCE_NUM_THREADS") == threads
        assert model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        assert str(model.get_property("EXECUTION_MODE_HINT")).endswith("ACCURACY")
    with pytest.raises(UsageError, match="threads: got 0, expected 1 or more"):
        open_runtime("openvino", source, threads=0)


def test_a_quota_bounds_the_threads_that_nobody_asked_for(source, monkeypatch):
    monkeypatch.setattr(openvino, "limited_cores", lambda: 1)
    for threads, expected in ((None, 1), (2, 2)):
        model = compiled(open_runtime("openvino", source, threads=threads))
        assert model.get_property("INFERENCE_NUM_THREADS") == expected


def test_what_it_computes_in_is_looked_at_and_not_believed(source, monkeypatch):
    import openvino

    class Lowered:
        def get_property(self, name):
            return openvino.Type.bf16

    monkeypatch.setattr(openvino.Core, "compile_model", lambda *given: Lowered())
    with pytest.raises(UnfitEnvironmentError, match=r"asked for f32, OpenVINO .* computes in bf16"):
        open_runtime("openvino", source)


@pytest.fixture
def opened_bf16(source):
    """It runs where the CPU has such instructions, and says so elsewhere."""
    try:
        with closing(open_runtime("openvino-bf16", source, threads=1)) as runtime:
            yield runtime
    except UnfitEnvironmentError as error:
        said = str(error)
        assert said.endswith("this CPU has no instructions for bf16; ask for runtime 'openvino'")
        pytest.skip(said)


def test_bfloat16_is_computed_where_it_is_asked_for_by_name(opened_bf16, source):
    model = compiled(opened_bf16)
    assert model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
    assert opened_bf16.provider.endswith("on CPU in bf16")
    feed = np.zeros((1, 3, 4, 4), np.float32)
    feed[0, 0, 0, 0] = 1 + 2**-12  # between two numbers of bfloat16, which has 8 bits
    assert opened_bf16.run({"pixel_values": feed})["logits"].tolist() == [[1.0, 0.0, 0.0]]
    with closing(open_runtime("openvino", source)) as runtime:
        assert runtime.run({"pixel_values": feed})["logits"][0, 0] == np.float32(1 + 2**-12)
        assert runtime.provider.endswith("on CPU")


@pytest.mark.parametrize(
    ("capabilities", "found", "types", "said"),
    [
        (["FP32"], "bf16", {}, "this CPU has no instructions for bf16; ask for runtime 'openvino'"),
        (["BF16"], "f32", {}, "asked for bf16, OpenVINO .* computes in f32"),
        (["BF16"], "bf16", {"a": "f32", "b": "i8"}, "computes nothing of it in bf16"),
    ],
)
def test_bfloat16_that_would_be_something_else_is_refused(
    source, monkeypatch, capabilities, found, types, said
):
    import openvino

    class Compiled:
        def get_property(self, name):
            return getattr(openvino.Type, found)

    monkeypatch.setattr(openvino.Core, "get_property", lambda *given: capabilities)
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *given: Compiled())
    monkeypatch.setattr(openvino_precisions, "runtime_precisions", lambda model, computing: types)
    with pytest.raises(UnfitEnvironmentError, match=said):
        open_runtime("openvino-bf16", source)


def test_a_graph_of_integers_alone_has_nothing_for_bfloat16(tmp_path, opened_bf16):
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "integers",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch"])],
    )
    path = tmp_path / "integers.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    with pytest.raises(UnfitEnvironmentError, match="computes nothing of it in bf16"):
        open_runtime("openvino-bf16", path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 20])
def test_a_corrupt_model_is_one_clear_sentence(source, content, capfd):
    source.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model.onnx: OpenVINO .* cannot read it as a model") as caught:
        open_runtime("openvino", source)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_does_not_exist_and_a_missing_file_are_integrity_errors(source, make_classifier):
    model = make_classifier()
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, source)
    with pytest.raises(IntegrityError, match="NoSuchOperator"):
        open_runtime("openvino", source)
    with pytest.raises(IntegrityError, match=r"none.onnx: no such file"):
        open_runtime("openvino", source.with_name("none.onnx"))


def test_without_openvino_the_extra_is_named(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"pip install 'compactor-toolkit\[openvino\]'"):
        open_runtime("openvino", source)


def test_it_writes_nothing_at_home_and_leaves_the_telemetry_package_to_others(source, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom compactor_runtimes.backends import open_runtime\n"
        f"open_runtime('openvino', Path({str(source)!r})).close()\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import openvino.tools.ovc.telemetry_utils as told\n"
        "assert told.tm.__name__ == 'openvino.tools.ovc.telemetry_stub'\n"
        "import openvino_telemetry\n"
    )
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("CI", None)  # where it would be off by itself
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert list(home.rglob("*")) == []


def test_threads_may_open_their_first_at_the_same_time(source):
    code = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom pathlib import Path\n"
        "from threading import Barrier\nfrom compactor_runtimes.backends import open_runtime\n"
        "together = Barrier(4)\n"
        "def open_one(_):\n"
        "    together.wait()\n"
        f"    open_runtime('openvino', Path({str(source)!r}), threads=1).close()\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    list(pool.map(open_one, range(4)))\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_where_openvino_is_imported_nothing_is_hidden(source, monkeypatch):
    import openvino  # noqa: F401

    class Telling(dict):
        def __setitem__(self, name, value):
            assert name != "openvino_telemetry"
            super().__setitem__(name, value)

    monkeypatch.setattr(sys, "modules", Telling(sys.modules))
    open_runtime("openvino", source).close()
