"""One contract for every runtime of the table, and torch: opens or says why not, answers as ort-cpu does."""

from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from compactor_runtimes import load, verify_bundle
from compactor_runtimes.backends import (
    RUNTIMES,
    choose_runtime,
    file_of,
    has_threads,
    is_code,
    open_files,
    open_runtime,
    options_of,
    runtimes_for,
    state_of,
    timed_run,
)
from compactor_runtimes.backends.openvino import OpenVinoRuntime
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec, FileEntry, InputPort, OutputPort
from compactor_runtimes.errors import IntegrityError, MissingDependency, UnfitEnvironmentError, UsageError

FEEDS = {"pixel_values": np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)}
# Sums of 16 numbers below 1, in whatever order: in float32, and of numbers that bfloat16 rounds by 2^-9.
ROUNDING = {"": 1e-4, "bf16": 16 * 2**-9 + 16 * 2**-8}


ON_ONNX = ["ort-cpu", "ort-cuda", "openvino", "openvino-bf16", "ort-openvino"]
ON_ONNX += ["ort-tensorrt-rtx", "ort-webgpu"]
WHY_NOT = [
    "no NVIDIA GPU",
    "CUDAExecutionProvider",
    "for bf16",
    "none of this machine's devices",
    "cannot load",
]


def artifact(name="fp32", **settings):
    entry = FileEntry(path="model.onnx", sha256="", bytes=0)
    return Artifact(name=name, spec=ExportSpec(**settings), files=[entry], status="verified")


def of_format(name):
    """An artifact that a runtime can open."""
    return artifact(format=RUNTIMES[name].formats[0])


@pytest.fixture
def source(tmp_path, make_classifier):
    path = tmp_path / "model.onnx"
    onnx.save(make_classifier(), path)
    return path


def open_torch(weight, folder):
    """The same classifier as a student, behind the seam through which torch is measured."""
    torch = pytest.importorskip("torch")
    from compactor.models.student import Student
    from compactor.teachers import Teachers
    from compactor.torch_runtime import TorchRuntime

    class Classifier(Student):
        inputs = (
            InputPort(
                name="pixel_values",
                dtype="float32",
                axes=["batch", 3, 4, 4],
                min=[1, 3, 4, 4],
                max=[8, 3, 4, 4],
                role="image",
            ),
        )
        outputs = (
            OutputPort(name="logits", dtype="float32", axes=["batch", 3], role="logits", labels="label"),
        )

        def example(self, batch=2):
            raise NotImplementedError

        def saved(self):
            raise NotImplementedError

        def forward(self, pixel_values):
            return {"label": pixel_values.flatten(1) @ torch.from_numpy(weight)}

    return TorchRuntime(Teachers([Classifier()]), folder)


@pytest.fixture(params=[*RUNTIMES, "torch"])
def opened(request, source):
    """A runtime that this machine can run, open; the others must say in one sentence why they are not."""
    name = request.param
    if name == "torch":
        weight = onnx.numpy_helper.to_array(onnx.load(source).graph.initializer[1])
        with closing(open_torch(weight.copy(), Path("model"))) as runtime:
            yield runtime
        return
    each = of_format(name)
    try:
        with closing(open_files(each, source.parent.joinpath, runtime=name, trust=True)) as runtime:
            yield runtime
    except UnfitEnvironmentError as error:
        said = str(error)
        assert "\n" not in said
        row = RUNTIMES[name]
        if isinstance(error, MissingDependency):
            assert f"pip install 'compactor-toolkit[{row.extra}]'" in said
        else:
            assert any(why in said for why in WHY_NOT)
        assert name not in ("ort-cpu", "openvino"), "these run wherever their extras are, as in this test"
        pytest.skip(said)


@pytest.fixture
def rounding(request):
    row = RUNTIMES.get(request.node.callspec.params["opened"])
    return ROUNDING[row.precision if row else ""]


def test_it_has_the_graphs_ports_and_answers_as_the_cpu_does(opened, source, rounding):
    assert (opened.inputs, opened.outputs) == (["pixel_values"], ["logits"])
    assert opened.provider
    with closing(open_runtime("ort-cpu", source)) as reference:
        expected = reference.run(FEEDS)["logits"]
    found = opened.run(FEEDS)["logits"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)
    np.testing.assert_allclose(found, FEEDS["pixel_values"].sum((2, 3)), rtol=0, atol=rounding)


def test_copying_is_timed_apart_and_answers_are_the_same(opened):
    expected = opened.run(FEEDS)["logits"]
    first, copied_ns = timed_run(opened, FEEDS)
    assert np.array_equal(first["logits"], expected)
    assert list(first) == ["logits"]
    if isinstance(opened, OpenVinoRuntime):
        assert copied_ns > 0
    elif opened.provider == "CPUExecutionProvider":
        assert copied_ns == 0  # it reads and writes in place
    smaller = {"pixel_values": FEEDS["pixel_values"][1:]}
    assert np.array_equal(timed_run(opened, smaller)[0]["logits"], opened.run(smaller)["logits"])
    assert np.array_equal(first["logits"], expected)
    with pytest.raises(UsageError, match="refuses"):
        timed_run(opened, {"pixel_values": np.zeros((2, 3, 4, 5), np.float32)})
    opened.close()
    with pytest.raises(UsageError, match="the runtime is closed; open it again$"):
        timed_run(opened, FEEDS)


def test_what_it_answered_stays_as_it_was(opened):
    first = opened.run(FEEDS)["logits"]
    before = first.copy()
    opened.run({"pixel_values": FEEDS["pixel_values"] * 2})
    assert np.array_equal(first, before)


@pytest.mark.parametrize(
    "feeds",
    [
        {"pixel_values": np.zeros((2, 3, 4, 5), np.float32)},
        {"pixel_values": np.zeros((2, 2, 4, 4), np.float32)},
        {"pixel_values": np.zeros((3, 4, 4), np.float32)},
        {"pixel_values": np.zeros((2, 3, 4, 4))},
        {"pixel_values": np.zeros((2, 3, 4, 4), np.int64)},
        {"elsewhere": np.zeros((2, 3, 4, 4), np.float32)},
        {"pixel_values": np.zeros((2, 3, 4, 4), np.float32), "more": np.zeros((2, 3), np.float32)},
        {},
    ],
    ids=["height", "channels", "axes", "float64", "int64", "name", "one more", "nothing"],
)
def test_other_feeds_are_a_usage_error_that_names_the_file(opened, feeds, capfd):
    opened.run(FEEDS)  # what was computed before is no answer
    with pytest.raises(UsageError, match=r"^model(\.onnx)?: the (graph|engine) refuses") as caught:
        opened.run(feeds)
    assert feeds or "refuses no input (" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_closing_twice_is_fine_and_running_afterwards_is_a_usage_error(opened):
    opened.close()
    opened.close()
    with pytest.raises(UsageError, match=r"^model(\.onnx)?: the runtime is closed; open it again$"):
        opened.run(FEEDS)
    with pytest.raises(UsageError, match=r"^model(\.onnx)?: the runtime is closed; open it again$"):
        opened.run({})


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**9, True, 1.0])
@pytest.mark.parametrize("name", ["ort-cpu", "openvino", "compactor.torch_runtime:open_runtime"])
def test_a_number_of_threads_that_no_machine_has_is_refused_with_the_range(name, threads, source):
    with pytest.raises(UsageError, match=r"^threads: got .*, expected 1 or more, at most 1024, or None"):
        open_runtime(name, source, threads=threads)


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_row_can_be_chosen_and_says_what_its_opener_takes(name):
    each = of_format(name)
    assert choose_runtime(each, name) == name
    row = RUNTIMES[name]
    assert is_code(each) is row.is_code
    assert has_threads(name) is not row.is_code
    assert options_of(name, trust=True) == ({"trust": True} if row.is_code else {})


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_row_says_on_what_it_would_run_or_why_it_cannot(name, source):
    found = state_of(name)
    assert found.detail
    assert "\n" not in found.detail
    if found.usable:
        open_files(of_format(name), source.parent.joinpath, runtime=name, trust=True).close()
    else:
        assert name not in ("ort-cpu", "openvino")
    with pytest.raises(UsageError, match="unknown runtime"):
        state_of(f"{name}x")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ON_ONNX),
        ({"precision": "int8", "quantization": "static"}, ON_ONNX),
        ({"fused": True}, ["ort-cpu", "ort-cuda"]),  # com.microsoft is ONNX Runtime's alone
        ({"format": "tensorrt"}, ["tensorrt"]),
        ({"format": "tensorrt-rtx"}, ["tensorrt-rtx"]),
    ],
)
def test_what_can_open_an_artifact_and_which_is_the_default(settings, names):
    assert runtimes_for(artifact(**settings)) == names


def test_the_runtime_of_the_verdict_is_the_default_if_it_can_open_the_artifact():
    one = msgspec.structs.replace(artifact(), runtimes=["openvino"])
    assert runtimes_for(one) == ["openvino", *(name for name in ON_ONNX if name != "openvino")]
    assert choose_runtime(one) == "openvino"
    elsewhere = msgspec.structs.replace(artifact(), runtimes=["ort-cuda"])
    assert choose_runtime(elsewhere) == "ort-cpu"  # the machine that loads it may have no GPU
    assert choose_runtime(elsewhere, "ort-cuda") == "ort-cuda"
    assert choose_runtime(msgspec.structs.replace(elsewhere, runtimes=["ort-cuda", "openvino"])) == "openvino"
    lower = msgspec.structs.replace(artifact(), runtimes=["openvino-bf16"])
    assert choose_runtime(lower) == "ort-cpu"  # another number type is asked for by name
    assert choose_runtime(lower, "openvino-bf16") == "openvino-bf16"
    lie = msgspec.structs.replace(artifact(), runtimes=["tensorrt", "of another release"])
    assert choose_runtime(lie) == "ort-cpu"


def test_the_file_to_open_is_the_first_or_the_one_that_the_runtime_chooses(monkeypatch):
    files = [FileEntry(path=f"e-{gpu}.engine", sha256="", bytes=0) for gpu in ("sm75", "sm89")]
    gpu = type("Gpu", (), {"compute": "sm89"})()
    monkeypatch.setattr("compactor_runtimes.backends.tensorrt.nvidia_gpu", lambda: gpu)
    plain = msgspec.structs.replace(artifact(), files=files)
    assert file_of(plain, "ort-cpu") is files[0]
    engine = msgspec.structs.replace(artifact(format="tensorrt"), files=files)
    assert file_of(engine, "tensorrt", trust=True) is files[1]
    assert file_of(engine, "tensorrt") is files[0]  # nothing asks for a GPU that may not be used
    with pytest.raises(IntegrityError, match="artifact 'fp32' lists no file; export it again"):
        file_of(msgspec.structs.replace(engine, files=[]), "tensorrt", trust=True)
    with pytest.raises(UsageError, match="unknown runtime"):
        file_of(plain, "nothing")


def test_an_unknown_runtime_is_named_with_the_nearest(bundle):
    for ask in (load, verify_bundle):
        with pytest.raises(UsageError, match="unknown runtime 'openvno'; did you mean 'openvino'"):
            ask(bundle.path, runtime="openvno")
    bundle.replace_artifact(status="not-run")  # nothing ships
    for ask in (load, verify_bundle):
        with pytest.raises(UsageError, match="unknown runtime 'openvno'; did you mean 'openvino'"):
            ask(bundle.path, runtime="openvno")


def test_a_runtime_of_another_format_is_one_sentence(bundle):
    said = (
        "artifact 'fp32': is of format onnx, which runtime 'tensorrt' does not open; choose one of: ort-cpu,"
    )
    for ask in (load, verify_bundle):
        with pytest.raises(UsageError, match=said):
            ask(bundle.path, runtime="tensorrt")
    with pytest.raises(UsageError, match="with operators of ONNX Runtime's own, which runtime 'openvino'"):
        choose_runtime(artifact(fused=True), "openvino")


def test_another_module_opens_by_its_name(source):
    with closing(open_runtime("compactor_runtimes.backends.ort:open_cpu", source, threads=1)) as runtime:
        assert runtime.provider == "CPUExecutionProvider"
    assert has_threads("some.module:opener")


def test_a_bundle_runs_and_verifies_on_a_runtime_by_name(bundle):
    raw = bundle.path / "golden/case-1.png"
    with load(bundle.path) as model, load(bundle.path, runtime="openvino") as other:
        expected, found = model.predict(raw), other.predict(raw)
    assert (found.label, found.index) == (expected.label, expected.index)
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-5)
    result = verify_bundle(bundle.path, runtime="openvino")
    assert result
    assert {row.artifact for row in result.rows} == {"bundle", "fp32"}


def test_limits_of_the_files_own_numbers_are_not_held_against_another_type(bundle):
    with pytest.raises(
        UsageError, match="'openvino-bf16': computes in bf16, for which the limits .* compactor measure"
    ):
        verify_bundle(bundle.path, runtime="openvino-bf16")


def test_what_the_runtime_cannot_open_is_not_run(bundle):
    good = bundle.manifest.main.artifacts[0]
    fused = msgspec.structs.replace(good, name="fused", spec=ExportSpec(fused=True))
    bundle.replace_main(artifacts=[good, fused])
    found = verify_bundle(bundle.path, runtime="openvino")
    assert found.not_run == ["fused"]
    assert found.reasons == {"fused": "runtime 'openvino' does not open it"}
    assert verify_bundle(bundle.path).not_run == []
