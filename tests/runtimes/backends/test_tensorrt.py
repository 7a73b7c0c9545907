"""Engines are opened with trust alone and on a GPU alone; there one answers what ONNX Runtime does."""

from contextlib import closing
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest

from compactor_runtimes import load
from compactor_runtimes.backends import RUNTIMES, open_runtime
from compactor_runtimes.backends.gpu import call, nvidia_gpu, open_cuda
from compactor_runtimes.backends.ort import open_cpu as open_onnx
from compactor_runtimes.backends.tensorrt import EngineRuntime, file_for_this_gpu, open_tensorrt_rtx
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec, FileEntry
from compactor_runtimes.bundle.open import file_entry, open_bundle
from compactor_runtimes.bundle.opening import open_artifact
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError


def why_no_gpu():
    try:
        nvidia_gpu()
    except UnfitEnvironmentError as error:
        return str(error)
    return ""


needs_gpu = pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu())
needs_no_gpu = pytest.mark.skipif(not why_no_gpu(), reason="this machine has an NVIDIA GPU")


@pytest.fixture(scope="session")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="the extra tensorrt-rtx is not installed")


@pytest.fixture
def engine(rtx, bundle):
    """An engine of the bundle's graph, really built, listed in the manifest as built and not run."""
    from compactor_exporters.tensorrt.build import build_engine, profile_of

    path = bundle.path / "artifacts/rtx.engine"
    content, _ = build_engine(
        rtx, bundle.path / "artifacts/fp32.onnx", profile_of(bundle.manifest.main.inputs), gpus=[]
    )
    path.write_bytes(content)
    listed = Artifact(
        name="rtx",
        spec=ExportSpec(format="tensorrt-rtx"),
        files=[file_entry(bundle.path, "artifacts/rtx.engine")],
        status="not-run",
        reason="no NVIDIA GPU here",
    )
    bundle.replace_main(artifacts=[*bundle.manifest.main.artifacts, listed])
    return path


def test_every_runtime_of_code_has_an_opener_that_refuses_without_trust(tmp_path):
    code = {name for name, row in RUNTIMES.items() if row.is_code}
    assert code == {"tensorrt", "tensorrt-rtx"}
    for name in code:
        with pytest.raises(UsageError, match=r"an engine is code.*trust=True"):
            open_runtime(name, tmp_path / "any.engine")


def test_an_engine_of_a_bundle_is_not_loaded_without_trust(bundle, engine):
    with pytest.raises(UsageError, match=r"rtx\.engine: an engine is code"):
        load(bundle.path, artifact="rtx")
    opened = open_bundle(bundle.path)
    with pytest.raises(UsageError, match="engine is code"):
        open_artifact(opened, opened.manifest.main.artifacts[1])


def test_trust_changes_nothing_for_onnx(bundle):
    with load(bundle.path, trust=True) as model:
        assert model.artifact.name == "fp32"


def test_an_engine_whose_build_was_rejected_is_not_loaded_even_with_trust(bundle, engine):
    main = bundle.manifest.main
    rejected = msgspec.structs.replace(main.artifacts[1], status="rejected", files=[])
    bundle.replace_main(artifacts=[main.artifacts[0], rejected])
    with pytest.raises(UsageError, match=r"no verified artifact 'rtx'"):
        load(bundle.path, artifact="rtx", trust=True)


@needs_no_gpu
def test_without_a_gpu_an_engine_says_so(bundle, engine):
    with pytest.raises(UnfitEnvironmentError, match=r"rtx\.engine: not run: no NVIDIA GPU"):
        load(bundle.path, artifact="rtx", trust=True)


def test_an_engine_takes_no_threads_and_must_be_there(rtx, tmp_path):
    with pytest.raises(UsageError, match="threads: got 2, expected None"):
        open_tensorrt_rtx(tmp_path / "any.engine", threads=2, trust=True)
    with pytest.raises(IntegrityError, match="no such file"):
        open_tensorrt_rtx(tmp_path / "any.engine", trust=True)


@pytest.mark.parametrize("names", [(), ("elsewhere",), ("pixel_values", "more")])
def test_inputs_of_other_names_are_refused_before_anything_is_copied(names):
    runtime = EngineRuntime.__new__(EngineRuntime)  # as its making leaves it, without a GPU
    runtime.inputs, runtime._source = ["pixel_values"], Path("any.engine")
    runtime._lock, runtime._closed, runtime._cuda = Lock(), False, SimpleNamespace(cudaMemcpyKind=None)
    feeds = {name: np.zeros(1, np.float32) for name in names}
    with pytest.raises(
        UsageError, match=r"^any\.engine: the graph refuses .*\(inputs pixel_values expected\)"
    ):
        runtime.run(feeds)


@needs_no_gpu
def test_a_failing_cuda_call_is_named(rtx):
    with pytest.raises(UnfitEnvironmentError, match="cudaMalloc failed with cudaError"):
        call(open_cuda().cudaMalloc, 16)


def test_of_several_engines_the_one_for_this_gpu_is_chosen(monkeypatch):
    files = [
        FileEntry(path=f"artifacts/e-{gpus}.engine", sha256="", bytes=0) for gpus in ("sm89-sm120", "sm75")
    ]
    for compute, chosen in (("sm120", 0), ("sm75", 1), ("sm90", 0)):
        gpu = type("Gpu", (), {"compute": compute})()
        monkeypatch.setattr("compactor_runtimes.backends.tensorrt.nvidia_gpu", lambda gpu=gpu: gpu)
        assert file_for_this_gpu(files) is files[chosen]
    assert file_for_this_gpu(files[1:]) is files[1]


@pytest.mark.gpu
@needs_gpu
def test_an_engine_answers_what_onnx_runtime_does(bundle, engine):
    feeds = np.random.default_rng(0).random((3, 3, 4, 4), np.float32)
    with (
        closing(open_tensorrt_rtx(engine, trust=True)) as runtime,
        closing(open_onnx(bundle.path / "artifacts/fp32.onnx")) as reference,
    ):
        for size in (1, 3, 2):  # buffers grow and are used again
            one = {"pixel_values": feeds[:size]}
            np.testing.assert_allclose(
                runtime.run(one)["logits"], reference.run(one)["logits"], rtol=0, atol=1e-4
            )
        with pytest.raises(UsageError, match="the engine refuses input 'pixel_values'"):
            runtime.run({"pixel_values": np.zeros((99, 3, 4, 4), np.float32)})
        assert "Layers" in runtime.layers()
    with pytest.raises(UsageError, match="closed"):
        runtime.run({"pixel_values": feeds})


@pytest.mark.gpu
@needs_gpu
def test_a_bundle_predicts_with_its_engine(bundle, engine):
    with load(bundle.path, artifact="rtx", trust=True) as model, load(bundle.path) as reference:
        assert "tensorrt_rtx" in model._runtime.provider
        for image in bundle.images:
            assert model.predict(image).label == reference.predict(image).label


def test_the_graph_of_these_tests_is_one_that_tensorrt_takes(bundle):
    operators = {node.op_type for node in onnx.load(bundle.path / "artifacts/fp32.onnx").graph.node}
    assert operators == {"Reshape", "MatMul"}
