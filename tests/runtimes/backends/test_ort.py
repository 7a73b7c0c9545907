import numpy as np
import onnx
import onnxruntime
import pytest

from compactor_runtimes.backends import open_runtime, ort
from compactor_runtimes.errors import IntegrityError, MissingDependency, UnfitEnvironmentError, UsageError


@pytest.fixture
def source(tmp_path, make_classifier):
    path = tmp_path / "model.onnx"
    onnx.save(make_classifier(), path)
    return path


def test_the_table_opens_a_runtime_that_computes(source):
    runtime = open_runtime("ort-cpu", source, threads=1)
    assert (runtime.inputs, runtime.outputs) == (["pixel_values"], ["logits"])
    assert runtime.provider == "CPUExecutionProvider"
    feed = np.zeros((2, 3, 4, 4), np.float32)
    feed[0, 1] = 0.5  # 16 pixels of 0.5 in the green plane
    feed[1, 2, 0, 0] = 3.0
    found = runtime.run({"pixel_values": feed})
    assert found["logits"].tolist() == [[0.0, 8.0, 0.0], [0.0, 0.0, 3.0]]


def test_threads_and_optimization_reach_the_session(source, monkeypatch):
    monkeypatch.setattr(ort, "limited_cores", lambda: None)
    for threads, expected in ((1, 1), (2, 2), (None, 0)):
        options = ort.open_cpu(source, threads=threads)._session.get_session_options()
        assert options.intra_op_num_threads == expected
        assert options.inter_op_num_threads == 1
        assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options = ort.open_cpu(source, optimization="none")._session.get_session_options()
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with pytest.raises(UsageError, match="threads: got 0, expected 1 or more"):
        ort.open_cpu(source, threads=0)


def test_a_quota_bounds_the_threads_that_nobody_asked_for(source, monkeypatch):
    monkeypatch.setattr(ort, "limited_cores", lambda: 1)
    for threads, expected in ((None, 1), (2, 2)):
        options = ort.open_cpu(source, threads=threads)._session.get_session_options()
        assert options.intra_op_num_threads == expected


def test_a_provider_that_is_not_there_is_refused(source):
    with pytest.raises(
        UnfitEnvironmentError, match=r"TensorrtExecutionProvider is not in this onnxruntime"
    ) as caught:
        ort.open_session(source, "TensorrtExecutionProvider")
    assert caught.value.exit_code == 6


def test_a_session_on_another_provider_is_refused(source, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherProvider"])
    with pytest.raises(
        UnfitEnvironmentError, match="asked for CPUExecutionProvider, the session runs on OtherProv"
    ):
        ort.open_cpu(source)


class Session:
    """Takes what a session is opened with, and runs on the CPU all the same."""

    def __init__(self, path, options, providers):
        self.asked = providers
        Session.last = self

    def disable_fallback(self):
        pass

    def get_providers(self):
        return ["CPUExecutionProvider"]


def test_cuda_is_the_same_file_on_another_provider_and_never_the_cpu(source, monkeypatch):
    with pytest.raises(
        UnfitEnvironmentError, match="provider CUDAExecutionProvider is not in this onnxruntime"
    ):
        open_runtime("ort-cuda", source)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(
        UnfitEnvironmentError, match="asked for CUDAExecutionProvider, the session runs on CPUEx"
    ):
        open_runtime("ort-cuda", source)
    assert Session.last.asked == [("CUDAExecutionProvider", {"use_tf32": "0"})]


def test_without_onnxruntime_cuda_names_the_extra_for_gpus(source, monkeypatch):
    monkeypatch.setattr(ort, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'compactor-toolkit\[ort-gpu\]'"):
        open_runtime("ort-cuda", source)


def test_memory_of_a_device_is_copied_to_and_from_and_timed(source, monkeypatch):
    monkeypatch.setitem(ort._DEVICES, "CPUExecutionProvider", "cpu")  # the same steps as on a GPU
    runtime = ort.open_cpu(source)
    feed = {"pixel_values": np.random.default_rng(0).random((2, 3, 4, 4), np.float32)}
    found, copied_ns = runtime.timed_run(feed)
    assert np.array_equal(found["logits"], runtime.run(feed)["logits"])
    assert copied_ns > 0
    with pytest.raises(UsageError, match="the graph refuses"):
        runtime.timed_run({"pixel_values": np.zeros((2, 3, 4, 5), np.float32)})
    with pytest.raises(UsageError, match="the graph refuses"):
        runtime.timed_run({"elsewhere": feed["pixel_values"]})
    runtime.close()
    with pytest.raises(UsageError, match="the runtime is closed"):
        runtime.timed_run(feed)


def test_the_optimised_graph_is_written_where_it_is_asked_for(source, tmp_path):
    open_runtime("ort-cpu", source, optimization="extended", optimised=tmp_path / "seen.onnx").close()
    assert {port.name for port in onnx.load(tmp_path / "seen.onnx").graph.output} == {"logits"}


@pytest.mark.parametrize("content", [b"", b"garbage" * 20])
def test_a_corrupt_model_is_one_clear_sentence(source, content, capfd):
    source.write_bytes(content)
    with pytest.raises(
        IntegrityError, match=r"model.onnx: ONNX Runtime .* cannot read it as a model"
    ) as caught:
        ort.open_cpu(source)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_does_not_exist_is_an_integrity_error(source, make_classifier):
    model = make_classifier()
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, source)
    with pytest.raises(IntegrityError, match="NoSuchOperator"):
        ort.open_cpu(source)


def test_external_data_outside_the_folder_is_an_integrity_error(tmp_path, make_classifier):
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner/model.onnx"
    onnx.save(make_classifier(), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    ort.open_cpu(path).close()
    model = onnx.load(path, load_external_data=False)
    (path.parent / "weights.bin").rename(tmp_path / "weights.bin")
    for entry in model.graph.initializer[1].external_data:
        if entry.key == "location":
            entry.value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(IntegrityError, match="cannot read it as a model"):
        ort.open_cpu(path)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"none.onnx: no such file"):
        ort.open_cpu(tmp_path / "none.onnx")


def test_feeds_that_do_not_fit_are_a_usage_error(source, capfd):
    runtime = ort.open_cpu(source)
    with pytest.raises(
        UsageError, match=r"model.onnx: the graph refuses pixel_values float32\[1, 3, 4, 5\]"
    ) as caught:
        runtime.run({"pixel_values": np.zeros((1, 3, 4, 5), np.float32)})
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="float64"):
        runtime.run({"pixel_values": np.zeros((1, 3, 4, 4))})
    assert capfd.readouterr() == ("", "")


def test_a_node_that_fails_is_an_error_and_not_also_a_printed_line(source, make_classifier, capfd):
    onnx.save(make_classifier(frozen=True), source)
    with pytest.raises(UsageError, match="the graph refuses"):
        ort.open_cpu(source).run({"pixel_values": np.zeros((2, 3, 4, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_a_failing_provider_may_not_be_replaced_by_another(source):
    assert ort.open_cpu(source)._session._enable_fallback is False


def test_a_closed_runtime_says_so(source):
    runtime = ort.open_cpu(source)
    runtime.close()
    runtime.close()
    with pytest.raises(UsageError, match="the runtime is closed"):
        runtime.run({"pixel_values": np.zeros((1, 3, 4, 4), np.float32)})


def test_without_onnxruntime_the_extra_is_named(source, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"pip install 'compactor-toolkit\[ort\]'"):
        ort.open_cpu(source)


@pytest.mark.parametrize(
    ("cores", "asked", "spins"),
    [(2, None, False), (3, None, True), (2, True, True), (3, False, False)],
)
def test_threads_spin_where_more_than_two_cores_can_be_used_or_as_is_said(
    source, monkeypatch, cores, asked, spins
):
    monkeypatch.setattr(ort, "usable_cores", lambda: cores)
    options = ort.open_cpu(source, spinning=asked)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spins))
