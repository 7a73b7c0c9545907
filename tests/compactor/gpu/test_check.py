"""`doctor --gpu`: without a GPU nothing passes; its steps are tried with ONNX Runtime as the engine."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from compactor.cli import cli
from compactor.gpu.check import GpuReport, Step, check_engine, check_gpu
from compactor.gpu.subjects import bundle_subjects, tiny_subject
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.backends.gpu import nvidia_gpu
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import NumericGateError, UnfitEnvironmentError
from tests.command_line import compactor
from tests.runtimes.conftest import write_bundle

FP32_LAYERS = json.dumps({"Layers": [{"Inputs": [{"Format/Datatype": "Row major linear FP32"}]}] * 3})


def has_gpu() -> bool:
    try:
        nvidia_gpu()
    except UnfitEnvironmentError:
        return False
    return True


without_gpu = pytest.mark.skipif(has_gpu(), reason="this machine has an NVIDIA GPU")


@pytest.fixture
def bundle(tmp_path):
    """A bundle of fp32, of int8 for CPUs and of an engine, of which no bytes are read here."""
    written = write_bundle(tmp_path / "bundle")
    (written.path / "artifacts/rtx.engine").write_bytes(b"engine")
    fp32 = written.manifest.main.artifacts[0]
    int8 = msgspec.structs.replace(
        fp32, name="int8-static", spec=ExportSpec(precision="int8", quantization="static")
    )
    engine = Artifact(
        name="tensorrt-rtx-fp32",
        spec=ExportSpec(format="tensorrt-rtx"),
        files=[file_entry(written.path, "artifacts/rtx.engine")],
        status="not-run",
        reason="no NVIDIA GPU here",
        made={"from_sha256": fp32.files[0].sha256},
    )
    written.replace_main(artifacts=[fp32, int8, engine])
    return written


def subject_of(bundle, name):
    return next(each for each in bundle_subjects(bundle.path) if name in each.name)


def checked(subject, path, layers=FP32_LAYERS):
    with closing(open_runtime("ort-cpu", path)) as runtime:
        return {step.step: step for step in check_engine(subject, runtime, lambda: layers)}


@without_gpu
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_gpu_every_step_is_not_run_and_the_exit_code_is_6(arguments):
    done = compactor("doctor", "--gpu", *arguments, cwd=Path.cwd())
    assert done.returncode == 6
    assert "no NVIDIA GPU" in done.stdout
    assert "passed" not in done.stdout.replace('"passed": false', "")
    if arguments:
        found = json.loads(done.stdout)
        assert found["passed"] is False
        assert {step["status"] for step in found["steps"]} == {"not-run"}
        assert [step["step"] for step in found["steps"]][:1] == ["build"]
    else:
        assert "steps were not run: no NVIDIA GPU" in done.stderr


@without_gpu
def test_without_a_gpu_graphs_and_engines_of_a_bundle_are_not_run(bundle):
    report = check_gpu(bundle.path, trust=True)
    assert not report.passed
    assert {step.status for step in report.steps} == {"not-run"}
    subjects = {step.subject for step in report.steps}
    assert "tensorrt-rtx-fp32 of the bundle" in subjects
    assert not any("int8" in subject for subject in subjects)  # it was made for CPUs
    assert isinstance(report.error(), UnfitEnvironmentError)


def test_doctor_says_which_options_want_gpu():
    for arguments in (["doctor", "--trust"], ["doctor", "some-bundle"]):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 2
        assert "has no effect without --gpu" in result.output


def test_an_engine_that_is_right_passes_every_step(bundle):
    steps = checked(subject_of(bundle, "tensorrt-rtx fp32"), bundle.path / "artifacts/fp32.onnx")
    assert list(steps) == ["golden cases", "beside ONNX Runtime", "layer types", "timing"]
    assert {step.status for step in steps.values()} == {"passed"}
    assert steps["layer types"].detail == "3 fp32"
    assert "2 cases" in steps["golden cases"].detail
    assert "difference 0 found, limit 0.0001" in steps["beside ONNX Runtime"].detail
    assert "of 200 runs of pixel_values[1, 3, 4, 4]" in steps["timing"].detail


def test_an_engine_that_computes_something_else_fails_where_it_shows(bundle, make_off):
    steps = checked(subject_of(bundle, "tensorrt-rtx fp32"), make_off(bundle.path.parent / "off.onnx"))
    assert steps["golden cases"].status == steps["beside ONNX Runtime"].status == "FAILED"
    assert steps["timing"].status == "passed"
    report = GpuReport(gpu="some", bundle=None, steps=list(steps.values()))
    assert isinstance(report.error(), NumericGateError)
    assert "golden cases" in str(report.error())


def test_an_int8_engine_without_an_int8_layer_fails(bundle):
    subject = replace(subject_of(bundle, "tensorrt-rtx fp32"), precision="int8")
    steps = checked(subject, bundle.path / "artifacts/fp32.onnx")
    assert steps["layer types"].status == "FAILED"
    told = checked(subject, bundle.path / "artifacts/fp32.onnx", layers='{"Layers": ["name"]}')
    assert (told["layer types"].status, told["layer types"].detail) == ("passed", "1 unknown")


def test_an_engine_is_held_to_the_limits_of_the_graph_it_comes_from(bundle):
    engine = subject_of(bundle, "of the bundle")
    assert engine.limits == {"logits": 1e-4}
    assert engine.graph == bundle.path / "artifacts/fp32.onnx"
    assert engine.engine == bundle.path / "artifacts/rtx.engine"


def test_a_tiny_graph_is_checked_beside_onnx_runtime(tmp_path):
    subject = tiny_subject(tmp_path)[0]
    steps = checked(subject, subject.graph)
    assert list(steps) == ["beside ONNX Runtime", "layer types", "timing"]
    assert {step.status for step in steps.values()} == {"passed"}


def test_a_report_passes_only_if_all_was_run():
    def step(status):
        return Step(subject="s", step="build", status=status, detail="not run: because")

    def report(*statuses):
        return GpuReport(gpu=None, bundle=None, steps=[step(status) for status in statuses])

    assert report("passed").passed
    assert report("passed").error() is None
    assert not report().passed
    assert str(report("passed", "not-run").error()) == "1 of 2 steps were not run: because"
    assert isinstance(report("not-run", "FAILED").error(), NumericGateError)


@pytest.fixture
def make_off():
    import onnx

    from tests.runtimes.conftest import WEIGHT, classifier

    def make(path):
        onnx.save(classifier(WEIGHT * 1.01), path)
        return path

    return make
