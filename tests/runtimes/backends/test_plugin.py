"""Plug-in providers of ONNX Runtime: a stand-in for their wheels, and the wheels where they are installed."""

import json
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from compactor_runtimes import load, verify_bundle
from compactor_runtimes.backends import open_runtime, operators_of, plugin, state_of
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError, UsageError

FEED = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)


@pytest.fixture
def source(tmp_path, make_classifier):
    path = tmp_path / "model.onnx"
    onnx.save(make_classifier(), path)
    return path


def device(kind, *, provider="ToyProvider", vendor="Toy"):
    hardware = SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}", vendor=vendor)
    return SimpleNamespace(ep_name=provider, device=hardware)


class Machine:
    """What ONNX Runtime would say of a machine with a wheel: its devices appear once it is registered."""

    def __init__(self, *kinds):
        self.kinds, self.registered, self.asked = kinds, [], None
        self.wheel = SimpleNamespace(
            __name__="toy_wheel", get_ep_name=lambda: "ToyProvider", get_library_path=lambda: "/toy.so"
        )

    def register(self, name, path):
        self.registered.append((name, path))

    def devices(self):
        own = [device(kind) for kind in self.kinds] if self.registered else []
        return [device("CPU", provider="CPUExecutionProvider", vendor="Plain"), *own]


@pytest.fixture
def install(monkeypatch):
    """Put a toy wheel in the place of OpenVINO's; sessions stay those of the CPU."""

    def put(*kinds):
        machine = Machine(*kinds)
        row = plugin.PLUGINS["ort-openvino"]
        monkeypatch.setitem(plugin.PLUGINS, "ort-openvino", row._replace(wheel=lambda: machine.wheel))
        monkeypatch.setattr(plugin, "_registered", set())
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", machine.register)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", machine.devices)
        monkeypatch.setattr(plugin, "limited_cores", lambda: None)

        class Options(onnxruntime.SessionOptions):
            def add_provider_for_devices(self, chosen, options):
                machine.asked = ([str(one.device.type) for one in chosen], options)

        monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
        return machine

    return put


def test_the_library_is_registered_once_and_devices_are_taken_in_the_order_of_the_row(install):
    machine = install("NPU", "GPU", "CPU")
    for _ in range(2):
        kinds = [str(one.device.type).rpartition(".")[2] for one in plugin.devices("ort-openvino")]
        assert kinds == ["CPU", "GPU", "NPU"]
    assert machine.registered == [("compactor-ort-openvino", "/toy.so")]
    assert state_of("ort-openvino").detail == "ToyProvider on Toy CPU, Toy GPU, Toy NPU"


def test_a_session_whose_provider_took_nothing_is_refused(install, source):
    machine = install("CPU")
    with pytest.raises(
        UnfitEnvironmentError, match="its provider would leave a part of the graph to the CPU"
    ):
        open_runtime("ort-openvino", source)
    assert machine.asked[0] == ["OrtHardwareDeviceType.CPU"]


@pytest.mark.parametrize(
    ("threads", "own", "limited"), [(3, "3", None), (None, None, None), (None, "2", 2), (3, "3", 2)]
)
def test_floats_stay_float32_and_threads_reach_the_provider(
    install, source, monkeypatch, threads, own, limited
):
    machine = install("CPU", "GPU")
    monkeypatch.setattr(plugin, "limited_cores", lambda: limited)
    settings, provider = plugin._settings("ort-openvino", source, threads=threads)
    assert provider == "ToyProvider"
    asked = json.loads(machine.asked[1]["load_config"])["CPU"]
    assert (asked["INFERENCE_PRECISION_HINT"], asked["EXECUTION_MODE_HINT"]) == ("f32", "ACCURACY")
    assert asked.get("INFERENCE_NUM_THREADS") == own
    assert settings.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


def test_another_device_is_asked_for_by_its_kind(install, source):
    machine = install("CPU", "GPU")
    plugin._settings("ort-openvino", source, threads=1, device="gpu")
    assert machine.asked[0] == ["OrtHardwareDeviceType.GPU"]
    assert json.loads(machine.asked[1]["load_config"]).keys() == {"GPU"}
    with pytest.raises(UsageError, match="got 'tpu', expected one of: cpu, gpu, npu"):
        open_runtime("ort-openvino", source, device="tpu")
    with pytest.raises(
        UnfitEnvironmentError, match=r"has no npu here \(it has ToyProvider on Toy CPU, Toy G"
    ):
        open_runtime("ort-openvino", source, device="npu")


def test_a_provider_without_a_device_says_which_devices_there_are(install, source):
    install()
    with pytest.raises(UnfitEnvironmentError, match=r"knows none of this machine's devices \(Plain CPU\)"):
        open_runtime("ort-openvino", source)
    assert not state_of("ort-openvino").usable


def test_a_library_that_cannot_be_loaded_is_one_sentence(install, source, monkeypatch):
    install("GPU")

    def fail(name, path):
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("no libcuda.so.1\nin sight")

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", fail)
    with pytest.raises(UnfitEnvironmentError, match=r"cannot load toy_wheel \(no libcuda.so.1 in sight\)"):
        open_runtime("ort-openvino", source)


def test_an_onnx_runtime_from_before_plug_ins_is_named(install, source, monkeypatch):
    install("CPU")
    monkeypatch.delattr(onnxruntime, "get_ep_devices")
    with pytest.raises(UnfitEnvironmentError, match="takes no plug-in providers; install onnxruntime 1.24"):
        open_runtime("ort-openvino", source)


def test_a_part_that_would_be_left_to_the_cpu_is_a_refusal_and_not_a_damaged_file(
    install, source, monkeypatch
):
    install("CPU")
    state = onnxruntime.capi.onnxruntime_pybind11_state

    def refuse(said, kind=state.Fail):
        def start(*given, **settings):
            raise kind(said)

        monkeypatch.setattr(onnxruntime, "InferenceSession", start)

    refuse("nodes are on the CPU, but fallback to CPU EP has been explicitly disabled by the user")
    with pytest.raises(UnfitEnvironmentError, match="would leave a part of the graph to the CPU"):
        open_runtime("ort-openvino", source)
    refuse("no adapter", state.EPFail)
    with pytest.raises(UnfitEnvironmentError, match=r"its provider failed to start \(no adapter\)"):
        open_runtime("ort-openvino", source)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("ort-openvino", "onnxruntime_ep_openvino", "ort-ep-openvino"),
        ("ort-tensorrt-rtx", "onnxruntime_ep_nv_tensorrt_rtx", "ort-ep-tensorrt-rtx"),
        ("ort-webgpu", "onnxruntime_ep_webgpu", "ort-ep-webgpu"),
    ],
)
def test_without_its_wheel_the_extra_is_named(source, monkeypatch, name, package, extra):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingDependency, match=rf"pip install 'compactor-toolkit\[{extra}\]'"):
        open_runtime(name, source)


@pytest.mark.heavy
@pytest.mark.parametrize("name", plugin.PLUGINS)
def test_golden_cases_run_on_the_real_provider(name, bundle):
    found = state_of(name)
    if not found.usable:
        pytest.skip(found.detail)
    result = verify_bundle(bundle.path, runtime=name)
    assert result
    assert {row.artifact for row in result.rows} == {"bundle", "fp32"}
    with load(bundle.path) as model, load(bundle.path, runtime=name) as other:
        for image in bundle.images:
            assert other.predict(image).label == model.predict(image).label
    path = bundle.path / "artifacts/fp32.onnx"
    with closing(open_runtime(name, path)) as runtime:
        provider = runtime.provider
        assert provider not in ("CPUExecutionProvider", "")
        np.testing.assert_allclose(
            runtime.run({"pixel_values": FEED})["logits"], FEED.sum((2, 3)), rtol=0, atol=1e-4
        )
    told = operators_of(name, path, {"pixel_values": FEED}, runs=2)
    assert told.placement.asked == provider
    assert told.placement.share == 1.0
