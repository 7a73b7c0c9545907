"""The bundle on disk: complete, verified by the runtime, and either there or not there."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import from_array, to_array
from PIL import Image
from safetensors.numpy import load_file

from compactor_exporters import bundle_writer, export_artifact
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_exporters.verify.artifact import verify_against, verify_artifact
from compactor_exporters.verify.reference import Reference
from compactor_runtimes import load, open_bundle, verify_bundle
from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import AccuracyGateError, IntegrityError, NumericGateError, UsageError
from tests.file_modes import EXPECTED, modes, umask
from tests.manifests import write_raw


@pytest.fixture
def contents(image, student_folder, tmp_path) -> BundleContents:
    artifact = verify_artifact(image.source, image.artifact, image.workspace, feeds=image.feeds)
    raws = []
    for index in range(3):
        raws.append(tmp_path / f"raw{index}.png")
        pixels = (image.feeds["pixel_values"][index, 0] * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(raws[-1])
    report = tmp_path / "report.json"
    report.write_text("{}")
    return BundleContents(
        source=image.source,
        artifacts=[artifact],
        artifact_folder=image.folder,
        student_folder=student_folder,
        raws=raws,
        default_artifact="fp32",
        report_files=[report],
        metrics={"student": {"accuracy": 0.97, "n": 40}},
        provenance={"seed": 0},
        licences={"data": "BSD-3-Clause"},
    )


def rejected() -> Artifact:
    check = Check(name="min-agreement", passed=False, value=0.9, limit=0.98, detail="too few agree")
    return Artifact(
        name="int8",
        spec=ExportSpec(precision="int8"),
        files=[],
        status="rejected",
        checks=[check],
        reason="too few agree",
    )


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_the_bundle_opens_verifies_and_predicts(contents, tmp_path):
    folder = write_bundle(tmp_path / "out/bundle", contents)
    assert files(folder) == [
        "README.md",
        "artifacts/fp32.onnx",
        "assets/labels.json",
        "golden/case-000.png",
        "golden/case-001.png",
        "golden/case-002.png",
        "golden/cases.json",
        "golden/tensors.safetensors",
        "manifest.json",
        "reports/report.json",
        "student/config.json",
        "student/model.safetensors",
    ]
    manifest = open_bundle(folder).manifest
    listed = {entry.path for entry in manifest.files} | {
        e.path for a in manifest.main.artifacts for e in a.files
    }
    assert listed == set(files(folder)) - {"manifest.json"}
    assert manifest.provenance == {"seed": 0}
    assert manifest.metrics == contents.metrics
    verification = verify_bundle(folder)
    assert verification, verification.rows
    with torch.no_grad():
        logits = contents.source.module(
            torch.from_numpy(load_file(folder / "golden/tensors.safetensors")["case-001.pixel_values"])
        )
    case = json.loads((folder / "golden/cases.json").read_text())[1]
    assert case["decoded"]["index"] == int(logits.argmax())
    assert case["decoded"]["confidence"] == pytest.approx(float(torch.softmax(logits, -1).max()), abs=1e-6)
    with load(folder) as model:
        assert model.predict(contents.raws[1]).label == case["decoded"]["label"]
    assert list(folder.parent.iterdir()) == [folder]


def test_golden_cases_pass_on_openvino_within_the_limits_of_onnx_runtime(contents, tmp_path):
    folder = write_bundle(tmp_path / "bundle", contents)
    result = verify_bundle(folder, runtime="openvino")
    result.raise_for_gate()
    assert {row.check for row in result.rows} == {row.check for row in verify_bundle(folder).rows}


def test_golden_outputs_are_the_torch_students(contents, tmp_path):
    folder = write_bundle(tmp_path / "bundle", contents)
    tensors = load_file(folder / "golden/tensors.safetensors")
    pixels = np.asarray(Image.open(contents.raws[2]), np.float32)[None, None] / np.float32(255)
    assert np.abs(tensors["case-002.pixel_values"] - pixels).max() < 1e-6
    with torch.no_grad():
        expected = contents.source.module(torch.from_numpy(tensors["case-002.pixel_values"])).numpy()
    assert np.array_equal(tensors["case-002.logits"], expected)


def test_the_runtime_finds_a_changed_weight_behind_fresh_hashes(contents, tmp_path):
    folder = write_bundle(tmp_path / "bundle", contents)
    model = onnx.load(folder / "artifacts/fp32.onnx")
    bias = next(each for each in model.graph.initializer if each.name == "fc.bias")
    bias.CopyFrom(from_array(to_array(bias) + np.float32(0.01), bias.name))
    onnx.save(model, folder / "artifacts/fp32.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = file_entry(folder, "artifacts/fp32.onnx")
    manifest["components"]["main"]["artifacts"][0]["files"] = [msgspec.to_builtins(entry)]
    write_raw(folder / "manifest.json", manifest)
    with pytest.raises(NumericGateError):
        verify_bundle(folder).raise_for_gate()


def test_a_rejected_artifact_is_listed_and_left_out(contents, tmp_path):
    folder = write_bundle(tmp_path / "bundle", replace(contents, artifacts=[*contents.artifacts, rejected()]))
    listed = {artifact.name: artifact for artifact in open_bundle(folder).manifest.main.artifacts}
    assert (listed["int8"].status, listed["int8"].reason, listed["int8"].files) == (
        "rejected",
        "too few agree",
        [],
    )
    assert [path.name for path in (folder / "artifacts").iterdir()] == ["fp32.onnx"]
    assert verify_bundle(folder)


def test_the_readme_says_how_to_use_it(contents, tmp_path):
    folder = write_bundle(tmp_path / "bundle", replace(contents, artifacts=[*contents.artifacts, rejected()]))
    text = (folder / "README.md").read_text()
    for words in (
        "# toy-digits",
        "from compactor_runtimes import load",
        "compactor predict",
        "compactor verify",
        "- `label` (10): 0, 1, 2",
        "- data: BSD-3-Clause",
        "| fp32 (default) | verified | artifacts/fp32.onnx",
        "| int8 | rejected | none | none | none | too few agree |",
    ):
        assert words in text


@pytest.mark.parametrize("place", [0, 1])
def test_golden_cases_store_what_is_rejected(contents, tmp_path, place):
    """The threshold lies between the two least sure of three answers, then between the two surest."""
    raws = list(contents.raws)
    with load(write_bundle(tmp_path / "plain", contents)) as model:
        low, middle, high = sorted(one.confidence for one in model.predict(raws))
    below = [(low + middle) / 2, (middle + high) / 2][place]
    (post,) = contents.source.post
    source = replace(contents.source, post=[msgspec.structs.replace(post, reject_below=below)])
    folder = write_bundle(tmp_path / "bundle", replace(contents, source=source))
    cases = json.loads((folder / "golden/cases.json").read_text())
    assert sum(case["decoded"].get("rejected", False) for case in cases) == place + 1
    assert verify_bundle(folder)
    assert f"which is true if its confidence lies below {below:.4g}" in (folder / "README.md").read_text()
    assert "rejected" not in (tmp_path / "plain" / "golden/cases.json").read_text()
    assert "which is true if" not in (tmp_path / "plain" / "README.md").read_text()


@pytest.fixture
def reduced(contents, image, tmp_path) -> BundleContents:
    """Float32, float16, and float32 computed wrongly that ships with a reason."""
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "fp32.onnx").write_bytes((image.folder / "fp32.onnx").read_bytes())
    half = export_artifact(image.source, ExportSpec(precision="fp16"), image.at(folder))
    model = onnx.load(folder / "fp32.onnx")
    bias = next(each for each in model.graph.initializer if each.name == "fc.bias")
    bias.CopyFrom(from_array(to_array(bias) + np.float32(1e-3), bias.name))
    onnx.save(model, folder / "shifted.onnx")
    spec = ExportSpec(fused=True, override="a thousandth | is nothing")
    shifted = Artifact(
        name="shifted", spec=spec, files=[file_entry(folder, "shifted.onnx")], status="not-run"
    )
    reference = Reference(image.source, image.feeds)
    artifacts = [
        *contents.artifacts,
        *(verify_against(reference, each, image.at(folder)) for each in (half, shifted)),
    ]
    return replace(contents, artifacts=artifacts, artifact_folder=folder)


def test_a_bundle_of_float32_and_float16_verifies(reduced, tmp_path):
    full, half, _ = reduced.artifacts
    folder = write_bundle(tmp_path / "bundle", replace(reduced, artifacts=[full, half]))
    verification = verify_bundle(folder)
    assert verification, verification.rows
    rows = {row.check: row for row in verification.rows if row.artifact == "fp16"}
    assert set(rows) == {"output logits", "output logits, batched", "decoding of logits", "served"}
    assert rows["output logits"].limit == half.limits["logits"]
    assert 0 < rows["output logits"].value <= half.limits["logits"] / 2
    assert rows["decoding of logits"].limit == 0.05
    with load(folder, artifact="fp16") as model:
        label = json.loads((folder / "golden/cases.json").read_text())[0]["decoded"]["label"]
        assert model.predict(reduced.raws[0]).label == label
    kept = {artifact.name: artifact for artifact in open_bundle(folder).manifest.main.artifacts}
    assert kept["fp16"].made == half.made
    assert kept["fp16"].errors == half.errors
    assert kept["fp16"].isa == half.isa


def test_what_was_overridden_ships_and_says_why(reduced, tmp_path):
    folder = write_bundle(tmp_path / "bundle", reduced)
    assert (folder / "artifacts/shifted.onnx").is_file()
    verification = verify_bundle(folder)
    assert verification, verification.rows
    assert {row.artifact for row in verification.rows} == {"bundle", "fp32", "fp16", "shifted"}
    shifted = open_bundle(folder).manifest.main.artifacts[2]
    assert (shifted.status, shifted.ships) == ("overridden", True)
    assert shifted.limits["logits"] == pytest.approx(2e-3, rel=0.01)  # twice what was accepted
    [check] = [check for check in shifted.checks if check.name == "real-samples"]
    assert (check.passed, check.limit) == (False, reduced.artifacts[0].limits["logits"])
    lines = (folder / "README.md").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("| shifted |")]
    assert line.startswith("| shifted | overridden | artifacts/shifted.onnx")
    assert "| logits 0.001 |" in line
    assert "a thousandth \\| is nothing (failed: shape-grid" in line


@pytest.mark.parametrize(
    ("artifact", "error", "words"),
    [
        (
            msgspec.structs.replace(rejected(), spec=ExportSpec(required=True)),
            AccuracyGateError,
            "min-agreement",
        ),
        (
            msgspec.structs.replace(rejected(), spec=ExportSpec(required=True), status="not-run", checks=[]),
            NumericGateError,
            "required artifact 'int8' is not-run",
        ),
    ],
)
def test_no_bundle_when_a_required_artifact_is_not_verified(contents, tmp_path, artifact, error, words):
    with pytest.raises(error, match=words):
        write_bundle(tmp_path / "out/bundle", replace(contents, artifacts=[*contents.artifacts, artifact]))
    assert not (tmp_path / "out").exists()


def test_no_bundle_without_a_verified_default(contents, tmp_path):
    with pytest.raises(UsageError, match="default artifact 'other' is not among"):
        write_bundle(tmp_path / "bundle", replace(contents, default_artifact="other"))
    both = [*contents.artifacts, rejected()]
    with pytest.raises(AccuracyGateError, match="min-agreement"):
        write_bundle(tmp_path / "bundle", replace(contents, artifacts=both, default_artifact="int8"))
    with pytest.raises(UsageError, match="got no golden input"):
        write_bundle(tmp_path / "bundle", replace(contents, raws=[]))


def test_a_failure_leaves_nothing_and_keeps_what_was_there(contents, tmp_path):
    out = tmp_path / "out"
    folder = write_bundle(out / "bundle", contents)
    before = (folder / "manifest.json").read_bytes()
    broken = tmp_path / "broken.png"
    broken.write_bytes(contents.raws[0].read_bytes()[:40])
    with pytest.raises(UsageError):
        write_bundle(folder, replace(contents, raws=[broken]))
    (contents.student_folder / "config.json").unlink()
    with pytest.raises(IntegrityError, match=r"config\.json: no such file"):
        write_bundle(folder, contents)
    assert list(out.iterdir()) == [folder]
    assert (folder / "manifest.json").read_bytes() == before
    assert verify_bundle(folder)


@pytest.mark.parametrize("mask", EXPECTED)
def test_files_of_a_bundle_respect_the_umask(contents, tmp_path, mask):
    with umask(mask):
        folder = write_bundle(tmp_path / "bundle", contents)
    assert modes(folder) == EXPECTED[mask]


def test_an_existing_bundle_is_replaced_whole(contents, tmp_path):
    folder = write_bundle(tmp_path / "out/bundle", contents)
    (folder / "stray.txt").write_text("left over")
    write_bundle(folder, replace(contents, provenance={"seed": 1}))
    assert open_bundle(folder).manifest.provenance == {"seed": 1}
    assert not (folder / "stray.txt").exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_the_old_bundle_comes_back_when_the_last_rename_fails(contents, tmp_path, monkeypatch):
    folder = write_bundle(tmp_path / "out/bundle", contents)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(bundle_writer.Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bundle(folder, contents)
    assert list(folder.parent.iterdir()) == [folder]
    assert verify_bundle(folder)


def test_a_file_that_changed_after_its_export_is_not_shipped(contents, image, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "fp32.onnx").write_bytes((image.folder / "fp32.onnx").read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match="changed since artifact 'fp32' was exported"):
        write_bundle(tmp_path / "bundle", replace(contents, artifact_folder=changed))
    assert not (tmp_path / "bundle").exists()
