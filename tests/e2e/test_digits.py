"""The whole way from teachers to a bundle, on scikit-learn's digits."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load_file, save_file

from compactor_runtimes.bundle.manifest import encode_manifest
from compactor_runtimes.bundle.open import file_entry, open_bundle
from compactor_runtimes.predict.loading import load
from compactor_runtimes.report import read_report, recommend
from tests.command_line import compactor
from tests.conftest import DIGITS, Finished
from tests.manifests import write_raw


def test_the_run_says_where_things_lie_and_what_to_do_next(digits_run: Finished) -> None:
    for word in (
        "bundle: runs/digits/",
        "report: runs/digits/",
        "next:   compactor predict",
        "Recommendation: Ship onnx fp32: ",
    ):
        assert word in digits_run.stdout.replace("\n ", " "), word
    assert (digits_run.run / "recipe.yaml").is_file()
    events = [
        json.loads(line)["event"] for line in (digits_run.run / "journal.jsonl").read_text().splitlines()
    ]
    assert events[0] == "start"
    assert events[-1] == "done"
    assert {"epoch", "stage", "artifact", "measured"} <= set(events)
    assert (digits_run.run / "checkpoints" / "distil" / "student" / "model.safetensors").is_file()


def test_report_compares_teacher_student_and_artifact_on_the_same_samples(digits_run: Finished) -> None:
    report = read_report(digits_run.run / "report" / "report.json")
    rows = {row.subject: row for row in report.accuracy}
    assert [row.kind for row in report.accuracy] == ["teacher", "teacher", "teacher", "student", "artifact"]
    assert {row.n for row in report.accuracy} == {359}
    assert {row.split for row in report.accuracy} == {"report"}
    student, artifact = rows["student (torch)"], rows["onnx fp32"]
    assert student.value > 0.95
    assert artifact.value == student.value
    teachers = [row for row in report.accuracy if row.kind == "teacher"]
    assert student.parameters is not None
    assert all(student.parameters * 4 <= (row.parameters or 0) for row in teachers)
    assert student.agreement_with_teacher is not None
    assert student.agreement_with_teacher > 0.95
    steps = {row.step: row for row in report.paired}
    assert set(steps) == {"distillation", "export fp32"}
    assert steps["export fp32"].difference_points == 0
    assert steps["export fp32"].verdict == "noise"
    scopes = {(one.subject, one.scope) for one in report.measurements}
    assert scopes == {
        (subject, scope)
        for subject in ("teachers (torch)", "teachers (onnx)", "student (torch)", "onnx fp32")
        for scope in ("compute", "end-to-end", "cold-start")
    }
    assert all(one.samples_ns for one in report.measurements)


def test_the_headline_compares_teachers_and_student_in_one_runtime(digits_run: Finished) -> None:
    report = read_report(digits_run.run / "report" / "report.json")
    # other tests run beside this one, and of what is INVALID nothing would be claimed
    quiet = [replace(one, valid=True, reasons=[]) for one in report.measurements]
    said = recommend(replace(report, measurements=quiet))
    headline = said.partition(" in ONNX Runtime CPU it is ")[2].partition("(median")[0]
    assert "teachers (onnx)" in headline  # how much faster is the machine's affair
    assert "with teachers (torch) (medians, " in said  # beside it, and never alone
    anatomies = {one.subject: one for one in report.anatomies}
    assert list(anatomies) == ["teachers (torch)", "teachers (onnx)", "student (torch)", "onnx fp32"]
    floors = [anatomies[name].roofline for name in ("teachers (onnx)", "onnx fp32")]
    assert all(floor is not None for floor in floors)
    assert floors[0].work.flops > floors[1].work.flops


def test_the_exported_teachers_are_kept_once_and_shown_in_the_run(digits_run: Finished) -> None:
    (kept,) = (digits_run.run.parent / "teachers").iterdir()
    (link,) = (digits_run.run / "exported-teachers").iterdir()
    assert link.resolve() == kept.resolve()
    assert open_bundle(kept).manifest.main.artifacts[0].status == "verified"
    assert not (digits_run.run / "teachers-export").exists()


def test_bundle_holds_what_the_design_says(digits_run: Finished) -> None:
    manifest = open_bundle(digits_run.bundle).manifest
    assert manifest.default_artifact == "fp32"
    artifact = manifest.main.artifacts[0]
    assert artifact.status == "verified"
    assert 0 < artifact.limits["logits"] < 1e-3
    assert {"shape-grid", "real-samples", "edge-samples", "min-agreement", "max-drop"} <= {
        check.name for check in artifact.checks
    }
    assert manifest.provenance["recipe"]["name"] == "digits"
    assert [teacher["stage"] for teacher in manifest.provenance["teachers"]] == ["teacher-a", "teacher-b"]
    assert {"data", "versions", "seed"} <= set(manifest.provenance)
    assert manifest.licences["data"].startswith("scikit-learn digits")
    for name in ("README.md", "student/model.safetensors", "assets/labels.json", "reports/report.json"):
        assert (digits_run.bundle / name).is_file(), name


def test_predictions_equal_the_torch_student(digits_run: Finished) -> None:
    import torch
    from sklearn.datasets import load_digits

    from compactor.models.build import load_model_folder
    from compactor.teachers import Teachers
    from compactor.torch_runtime import TorchRuntime

    images = np.round(load_digits().images[:50] * 255 / 16).astype(np.uint8)
    student = load_model_folder(digits_run.bundle / "student")
    pixels = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    expected = TorchRuntime(Teachers([student])).run({"pixel_values": pixels.numpy()})["logits"]
    with load(digits_run.bundle) as model:
        np.testing.assert_allclose(model.logits(list(images)), expected, atol=1e-4)
        assert [found.index for found in model.predict(list(images))] == expected.argmax(-1).tolist()


def test_running_again_reuses_every_stage(digits_run: Finished) -> None:
    plan = json.loads(compactor("plan", *DIGITS, "--json", cwd=digits_run.cwd).stdout)
    assert {step["action"] for step in plan["steps"] if step["kind"] == "train"} == {"reuse"}
    changed = compactor("plan", *DIGITS, "--json", "--set", "stages.2.lr=0.05", cwd=digits_run.cwd)
    actions = {step["id"]: step["action"] for step in json.loads(changed.stdout)["steps"]}
    assert (actions["teacher-a"], actions["distil"]) == ("reuse", "run")


@pytest.fixture
def copy(digits_run: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_run.bundle, tmp_path / "bundle"))


def rewrite_hash(bundle: Path, relative: str) -> None:
    """Make the manifest's hash of a changed file right again."""
    manifest = open_manifest(bundle)
    entry = file_entry(bundle, relative)
    component = manifest.components["main"]
    artifacts = [
        msgspec.structs.replace(
            artifact, files=[entry if file.path == relative else file for file in artifact.files]
        )
        for artifact in component.artifacts
    ]
    manifest = msgspec.structs.replace(
        manifest,
        files=[entry if file.path == relative else file for file in manifest.files],
        components={"main": msgspec.structs.replace(component, artifacts=artifacts)},
    )
    (bundle / "manifest.json").write_bytes(encode_manifest(manifest))


def open_manifest(bundle: Path):
    from compactor_runtimes.bundle.manifest import decode_manifest

    return decode_manifest((bundle / "manifest.json").read_bytes(), where="test")


def test_verify_passes_on_the_bundle(copy: Path) -> None:
    done = compactor("verify", str(copy), cwd=copy.parent)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout


def test_the_same_bundle_passes_on_openvino(copy: Path) -> None:
    done = compactor("verify", str(copy), "--runtime", "openvino", "--json", cwd=copy.parent)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["artifact"] for row in rows} == {"bundle", "fp32"}
    assert all(row["passed"] for row in rows)


def test_one_flipped_byte_is_exit_code_7(copy: Path) -> None:
    path = copy / "artifacts" / "fp32.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for command in (["verify", str(copy)], ["predict", str(copy), str(copy / "golden" / "case-000.png")]):
        done = compactor(*command, cwd=copy.parent)
        assert done.returncode == 7
        assert done.stderr.count("\n") == 1
        assert "fp32.onnx" in done.stderr


def test_a_path_that_points_outside_is_exit_code_7(copy: Path) -> None:
    manifest = open_manifest(copy)
    files = [msgspec.structs.replace(manifest.files[0], path="../outside.txt"), *manifest.files[1:]]
    (copy / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    (copy.parent / "outside.txt").write_text("secret")
    done = compactor("verify", str(copy), cwd=copy.parent)
    assert done.returncode == 7
    assert "../outside.txt" in done.stderr


def test_a_changed_weight_behind_right_hashes_is_exit_code_3(copy: Path) -> None:
    import onnx
    from onnx import numpy_helper

    path = copy / "artifacts" / "fp32.onnx"
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda one: np.prod(one.dims))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(model, path)
    rewrite_hash(copy, "artifacts/fp32.onnx")
    done = compactor("verify", str(copy), cwd=copy.parent)
    assert done.returncode == 3, done.stderr
    assert "logits" in done.stderr


def test_a_wrong_preprocessing_is_exit_code_3(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    assert text.count("0.00392") == 1
    (copy / "manifest.json").write_text(text.replace("0.00392", "0.00492"))
    assert compactor("verify", str(copy), cwd=copy.parent).returncode == 7
    write_raw(copy / "manifest.json", json.loads((copy / "manifest.json").read_text()))
    assert compactor("verify", str(copy), cwd=copy.parent).returncode == 3


def test_golden_tensors_of_another_model_are_exit_code_3(copy: Path) -> None:
    path = copy / "golden" / "tensors.safetensors"
    tensors = load_file(path)
    save_file({key: value + (0.01 if "logits" in key else 0) for key, value in tensors.items()}, path)
    rewrite_hash(copy, "golden/tensors.safetensors")
    assert compactor("verify", str(copy), cwd=copy.parent).returncode == 3
