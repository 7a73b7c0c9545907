"""Engines of TensorRT for RTX, really built here; of TensorRT what needs no GPU; what is said of both."""

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from compactor_exporters import can_export, export_artifact
from compactor_exporters.tensorrt import engine as tensorrt_engine
from compactor_exporters.tensorrt.build import build_engine, configure, network_flags, profile_of
from compactor_exporters.tensorrt.progress import Watch, monitor
from compactor_runtimes.backends.tensorrt_product import (
    first_error,
    listen,
    one_line,
    open_product,
    quiet_logger,
)
from compactor_runtimes.bundle.manifest import Calibration, ExportSpec, InputPort
from compactor_runtimes.errors import UnfitEnvironmentError

PROFILE = {"x": ([1, 4], [8, 4], [16, 4])}


@pytest.fixture(scope="session")
def rtx():
    pytest.importorskip("tensorrt_rtx", reason="the extra tensorrt-rtx is not installed")
    return open_product("tensorrt-rtx")


def spec(precision="fp32", **fields):
    return ExportSpec(format="tensorrt-rtx", precision=precision, **fields)


def quantised(path, *, zero_point, int32_bias=False):
    """A QDQ graph by hand: y = dequantise(quantise(x)) + x, or + a bias that is dequantised from int32."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantise_x"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Add", ["d", "b" if int32_bias else "x"], ["y"]),
    ]
    if int32_bias:
        nodes.insert(0, helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"], name="bias_of_x"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    held = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.02]),
        helper.make_tensor("zero", TensorProto.INT8, [], [zero_point]),
        *([helper.make_tensor("bias", TensorProto.INT32, [4], [1, 2, 3, 4])] if int32_bias else []),
    ]
    graph = helper.make_graph(nodes, "quantised", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_is_built_for_two_generations_without_a_gpu(rtx, image, tmp_path, precision):
    calibration = Calibration(samples=16) if precision == "int8" else None
    wanted = spec(precision, gpus=["sm89", "sm120"], calibration=calibration)
    source = dataclasses.replace(image.source, calibration=lambda asked: image.feeds)
    artifact = export_artifact(source, wanted, image.at(tmp_path))
    (entry,) = artifact.files
    assert entry.path == f"tensorrt-rtx-{precision}-sm89-sm120.engine"
    assert entry.bytes == (tmp_path / entry.path).stat().st_size > 10_000
    assert artifact.status == "not-run"
    assert artifact.reason.startswith("engines built for sm89, sm120, not run")
    assert "compactor doctor --gpu" in artifact.reason
    made = artifact.made
    assert (made["product"], made["version"]) == ("tensorrt-rtx", rtx.__version__)
    assert made["from"].startswith(precision)
    assert made["profile"]["pixel_values"] == {
        "min": [1, 1, 8, 8],
        "opt": [8, 1, 8, 8],
        "max": [16, 1, 8, 8],
    }


@pytest.mark.heavy
def test_the_engine_comes_from_the_canonical_graph_and_says_so(rtx, image, tmp_path):
    artifact = export_artifact(image.source, spec(), image.at(tmp_path))
    graph = image.workspace.graphs.canonical.read_bytes()
    assert artifact.made["from_sha256"] == hashlib.sha256(graph).hexdigest()
    assert artifact.files[0].path == "tensorrt-rtx-fp32-sm80-and-later.engine"
    assert artifact.made["gpus"] == ["sm80-and-later"]


@pytest.mark.heavy
def test_a_text_model_has_one_profile_for_all_lengths(rtx, text, tmp_path):
    artifact = export_artifact(text.source, spec(gpus=["sm89"]), text.at(tmp_path))
    ids = artifact.made["profile"]["input_ids"]
    assert ids == {"min": [1, 1], "opt": [8, 24], "max": [8, 24]}
    assert artifact.made["profile"]["attention_mask"] == ids


@pytest.mark.heavy
def test_turing_gets_a_file_of_its_own(rtx, image, tmp_path):
    artifact = export_artifact(image.source, spec("fp16", gpus=["sm75", "sm89", "sm89"]), image.at(tmp_path))
    assert [entry.path for entry in artifact.files] == [
        "tensorrt-rtx-fp16-sm89.engine",
        "tensorrt-rtx-fp16-sm75.engine",
    ]


@pytest.mark.heavy
def test_what_turing_cannot_do_is_one_sentence(rtx, image, tmp_path):
    with pytest.raises(UnfitEnvironmentError, match=r"sm75 .*FP32 GEMM.*; remove sm75 from gpus") as told:
        export_artifact(image.source, spec(gpus=["sm75"]), image.at(tmp_path))
    assert "/_src/" not in str(told.value)
    assert not list(tmp_path.glob("*.engine"))


@pytest.mark.heavy
def test_asymmetric_int8_is_refused_with_the_node_and_the_way_out(rtx, tmp_path):
    path = quantised(tmp_path / "q.onnx", zero_point=3)
    with pytest.raises(UnfitEnvironmentError, match=r"QuantizeLinear node 'quantise_x'.*target trt"):
        build_engine(rtx, path, PROFILE, gpus=["sm89"])
    engine, _ = build_engine(rtx, quantised(path, zero_point=0), PROFILE, gpus=["sm89"])
    assert len(engine) > 10_000


@pytest.mark.heavy
def test_a_bias_of_int32_is_refused_with_the_node_and_the_way_out(rtx, tmp_path):
    path = quantised(tmp_path / "q.onnx", zero_point=0, int32_bias=True)
    with pytest.raises(UnfitEnvironmentError, match=r"'bias_of_x'.*no biases of int32") as told:
        build_engine(rtx, path, PROFILE, gpus=["sm89"])
    assert "catchCudaError" not in str(told.value)


@pytest.mark.heavy
def test_a_file_that_is_no_graph_is_one_sentence(rtx, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(UnfitEnvironmentError, match=r"bad\.onnx"):
        build_engine(rtx, tmp_path / "bad.onnx", PROFILE, gpus=["sm89"])


@pytest.mark.heavy
def test_nothing_is_printed(rtx, tmp_path, capfd):
    build_engine(rtx, quantised(tmp_path / "q.onnx", zero_point=0), PROFILE, gpus=["sm89"])
    with pytest.raises(UnfitEnvironmentError):
        build_engine(rtx, tmp_path / "q.onnx", {"x": ([4, 4], [1, 4], [2, 4])}, gpus=["sm89"])
    assert capfd.readouterr() == ("", "")


GARBAGE = """
import gc, sys
from pathlib import Path
from compactor_exporters.tensorrt.build import build_engine
from compactor_runtimes.backends import tensorrt_product

rtx = tensorrt_product.open_product("tensorrt-rtx")

class Cycle:
    pass

def leave(logger):  # as a frame that a raised error keeps does
    cycle = Cycle()
    cycle.me, cycle.builder, cycle.logger = cycle, rtx.Builder(logger), logger

class Foreign(rtx.ILogger):
    def __init__(self):
        rtx.ILogger.__init__(self)

    def log(self, severity, message):
        pass

def heard(text):  # in the callback: more objects than the collector waits for
    kept = [[] for _ in range(200_000)]
    return text

gc.collect()
gc.set_threshold(100_000)
tensorrt_product.one_line = heard
leave(Foreign() if sys.argv[2] == "foreign" else tensorrt_product.quiet_logger(rtx))
engine, _ = build_engine(rtx, Path(sys.argv[1]), {"x": ([1, 4], [8, 4], [16, 4])}, gpus=["sm89"])
print(len(engine))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("logger", ["ours", "foreign"])
def test_a_builder_in_the_garbage_never_stops_the_next_one(rtx, tmp_path, logger):
    """The product tells a second logger that there is a first while it holds the lock that an end takes."""
    path = quantised(tmp_path / "q.onnx", zero_point=0)
    done = subprocess.run(
        [sys.executable, "-c", GARBAGE, path, logger], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10_000
    assert done.stderr == ""


@pytest.mark.heavy
def test_all_builds_of_a_process_have_one_logger_and_each_its_own_messages(rtx, tmp_path):
    first, second = listen(rtx), listen(rtx)
    assert quiet_logger(rtx) is quiet_logger(rtx)
    quiet_logger(rtx).log(rtx.ILogger.ERROR, "bad")
    quiet_logger(rtx).log(rtx.ILogger.WARNING, "odd")
    quiet_logger(rtx).log(rtx.ILogger.INFO, "so so")
    assert (first.errors, first.warnings) == (second.errors, second.warnings) == (["bad"], ["odd"])
    assert first_error(listen(rtx)) == "no reason was given"


@pytest.mark.heavy
def test_progress_counts_every_phase_to_its_end(rtx, image, tmp_path):
    seen = []
    tensorrt_engine.export(
        image.source, spec(gpus=["sm89"]), image.at(tmp_path), progress=lambda *step: seen.append(step)
    )
    assert len(seen) > 20
    assert all(0 <= done <= of for _, done, of in seen)
    last = {phase: (done, of) for phase, done, of in seen}
    assert len(last) > 3
    assert all(done == of for done, of in last.values())


@pytest.mark.heavy
def test_what_the_callback_raises_cancels_the_build(rtx, tmp_path, capfd):
    class EnoughError(Exception):
        pass

    calls = []

    def progress(phase, done, of):
        calls.append(phase)
        raise EnoughError

    path = quantised(tmp_path / "q.onnx", zero_point=0)
    with pytest.raises(EnoughError):
        build_engine(rtx, path, PROFILE, gpus=["sm89"], progress=progress)
    assert len(calls) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.heavy
def test_ctrl_c_cancels_the_build_and_is_given_back(rtx, image, tmp_path):
    before, calls = signal.getsignal(signal.SIGINT), []

    def progress(phase, done, of):
        calls.append(phase)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tensorrt_engine.export(image.source, spec(gpus=["sm89"]), image.at(tmp_path), progress=progress)
    assert len(calls) == 3
    assert not list(tmp_path.glob("*.engine"))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_table_of_gpus_is_what_the_package_builds_for(rtx):
    known = {name.lower() for name in rtx.ComputeCapability.__members__ if name.startswith("SM")}
    assert set(tensorrt_engine.GPUS) == known


def test_the_shape_tuned_for_lies_between_the_bounds():
    def port(role, axes, low, high):
        return InputPort(name=role, dtype="int64", axes=axes, min=low, max=high, role=role)

    found = profile_of(
        [
            port("tokens", ["batch", "tokens"], [1, 2], [64, 512]),
            port("mask", ["batch", "tokens"], [1, 4], [32, 600]),
            port("image", ["images", 3, "height", "width"], [9, 3, 32, 32], [10, 3, 224, 320]),
        ]
    )
    assert found["tokens"] == found["mask"] == ([1, 4], [8, 32], [32, 512])
    assert found["image"] == ([9, 3, 32, 32], [9, 3, 224, 320], [10, 3, 224, 320])


@pytest.mark.parametrize(
    ("members", "flags"),
    [
        ({"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 0b11),  # TensorRT 10
        ({"STRONGLY_TYPED": 1}, 0b10),  # TensorRT for RTX 1.7
        ({"STRONGLY_TYPED": 0}, 0b1),
        ({}, 0),  # TensorRT 11 types every network strongly
    ],
)
def test_network_flags_are_those_that_the_release_has(members, flags):
    product = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(**members))
    assert network_flags(product) == flags
    assert network_flags(SimpleNamespace()) == 0


def test_the_installed_release_has_a_strongly_typed_network(rtx):
    flag = int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert network_flags(rtx) & (1 << flag)


@pytest.mark.heavy
def test_fp32_means_fp32_and_layers_can_be_looked_at(rtx):
    config = rtx.Builder(quiet_logger(rtx)).create_builder_config()
    assert config.get_flag(rtx.BuilderFlag.TF32)  # NVIDIA's default, with 10 bits of mantissa
    configure(rtx, config, ["sm89", "sm120"])
    assert not config.get_flag(rtx.BuilderFlag.TF32)
    assert config.profiling_verbosity == rtx.ProfilingVerbosity.DETAILED
    assert [config.get_compute_capability(index).name for index in range(2)] == ["SM89", "SM120"]


@pytest.mark.heavy
def test_a_stopped_watch_stops_at_the_next_step(rtx):
    watch, seen = Watch(), []
    watching = monitor(rtx, watch, lambda *step: seen.append(step))
    watching.phase_start("tune", None, 4)
    assert watching.step_complete("tune", 0)
    watch.interrupted = True
    assert not watching.step_complete("tune", 1)
    assert seen == [("tune", 0, 4), ("tune", 1, 4)]
    with pytest.raises(KeyboardInterrupt):
        watch.raise_for_stop()


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (spec(gpus=["sm90"]), r"'sm90' is not built for.*known: sm120, sm121, sm75, sm80, sm86, sm89"),
        (spec(required=True), r"cannot be required.*verified only where its GPU is"),
        (spec(scheme="u8u8"), r"takes no scheme"),
        (spec(calibration=Calibration()), r"takes no calibration"),
        (spec(override="because"), r"takes no override"),
        (ExportSpec(format="tensorrt", gpus=["sm89"]), r"tensorrt/fp32 takes no gpus"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(wanted, reason):
    told = can_export(wanted)
    assert told is not None
    assert re.search(reason, told)


def test_a_missing_product_names_the_command(monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "find_spec", lambda package: None)
    assert "pip install 'compactor-toolkit[tensorrt-rtx]'" in str(can_export(spec()))
    told = str(can_export(ExportSpec(format="tensorrt")))
    assert "pip install 'compactor-toolkit[tensorrt]'" in told
    assert "NVIDIA GPU and its driver" in told


def test_tensorrt_without_a_gpu_points_at_the_product_that_needs_none(monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "find_spec", lambda package: object())
    monkeypatch.setattr(tensorrt_engine, "gpu_names", list)
    told = str(can_export(ExportSpec(format="tensorrt", precision="fp16")))
    assert "no NVIDIA GPU" in told
    assert "tensorrt-rtx" in told


def test_messages_lose_the_places_in_sources_that_nobody_has():
    assert one_line("Bad (GEMM. In compile at /_src/a/b.cpp:12)") == "Bad (GEMM.)"
    assert one_line("ModelImporter.cpp:1071: Make sure\n it is") == "Make sure it is"
