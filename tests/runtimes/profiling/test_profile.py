"""From a bundle to a profile and back into `load`: whole ones, some that fail, one that is not decoded."""

import numpy as np
import onnx
import pytest
from msgspec.structs import replace

import compactor_runtimes
from compactor_runtimes.errors import (
    IntegrityError,
    MissingDependency,
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.measure.measurement import Settings
from compactor_runtimes.measure.profile_file import write_profile
from compactor_runtimes.profiling import profile as module
from compactor_runtimes.profiling.profile import profile_bundles, require_golden
from compactor_runtimes.profiling.subjects import Wanted
from compactor_runtimes.profiling.sweep import Sweep
from tests.runtimes.conftest import WEIGHT, classifier
from tests.runtimes.text_bundles import write_text_bundle

SHORT = Settings(profile="smoke", scenarios=["single-stream"], cold_starts=0)


@pytest.mark.slow
def test_a_bundle_is_checked_measured_taken_apart_and_taken_over_by_load(bundle, tmp_path):
    found = profile_bundles(
        [bundle.path],
        Wanted(runtimes=["ort-cpu"], sweep=Sweep(threads=[1], spinning=[True, False])),
        replace(SHORT, dissect=True),
    )
    names = ["fp32 @ ort-cpu, threads 1, spinning on", "fp32 @ ort-cpu, threads 1, spinning off"]
    assert [row.name for row in found.subjects] == names
    assert all(check.passed for row in found.subjects for check in row.golden)
    assert {one.subject for one in found.measurements} == set(names)
    assert [one.threads for one in found.measurements] == [1] * 4
    anatomy = found.anatomies[0]
    assert {len(times) for times in anatomy.split.samples_ns.values()} == {200}
    assert anatomy.placement.share == 1
    assert anatomy.work.flops == 2 * 48 * 3  # one product of 48 numbers for each of 3 classes
    assert anatomy.roofline.floor_ns > 0
    assert [point.stage for point in anatomy.memory.points][:3] == ["start", "loaded", "steady"]
    assert found.notes == ["samples: the 2 golden cases of colours; give your own with --samples"]

    path = tmp_path / "profile.json"
    chosen = replace(found, recommendation=replace(found.recommendation, subject=names[1]))
    write_profile(chosen, path)
    with compactor_runtimes.load(bundle.path, profile=path) as model:
        assert model.predict(np.zeros((4, 4, 3), np.uint8)).label in model.labels
    write_profile(replace(chosen, environment=chosen.environment | {"cpu": "another"}), path)
    with pytest.warns(UserWarning, match="was measured on another machine"):
        compactor_runtimes.load(bundle.path, profile=path).close()
    write_profile(replace(chosen, recommendation=replace(found.recommendation, subject="")), path)
    with pytest.raises(UsageError, match="recommends nothing"):
        compactor_runtimes.load(bundle.path, profile=path)
    write_profile(chosen, path)
    bundle.replace(name="other")
    with pytest.raises(UsageError, match="of another bundle than"):
        compactor_runtimes.load(bundle.path, profile=path)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="is no profile"):
        compactor_runtimes.load(bundle.path, profile=path)


@pytest.mark.slow
def test_what_fails_its_golden_cases_here_is_not_timed(bundle):
    wrong = WEIGHT.copy()
    wrong[0, 0] = 3
    onnx.save(classifier(wrong), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with pytest.raises(NumericGateError, match="nothing may be timed here: fp32 @ ort-cpu: output logits"):
        profile_bundles([bundle.path], Wanted(), SHORT)


@pytest.mark.slow
def test_one_that_fails_beside_one_that_passes_is_an_error_after_all_was_measured(bundle, tmp_path):
    good = bundle.manifest.main.artifacts[0]
    wrong = WEIGHT.copy()
    wrong[0, 0] = 3
    onnx.save(classifier(wrong), bundle.path / "artifacts/other.onnx")
    entry = replace(good.files[0], path="artifacts/other.onnx")
    other = replace(good, name="other", files=[entry])
    bundle.replace_main(artifacts=[good, other])
    bundle.rehash()
    found = profile_bundles([bundle.path], Wanted(), SHORT)
    assert [row.not_run[:20] for row in found.subjects] == ["", "output logits failed"]
    assert {one.subject for one in found.measurements} == {"fp32 @ ort-cpu"}
    with pytest.raises(NumericGateError, match="other @ ort-cpu: output logits failed here, so it was"):
        require_golden(found)


@pytest.mark.slow
def test_where_images_cannot_be_decoded_compute_alone_is_measured(bundle, monkeypatch):
    monkeypatch.setattr(module, "can_decode", lambda *_: ([], "pip install 'compactor-toolkit[image]'"))
    found = profile_bundles([bundle.path], Wanted(), replace(SHORT, dissect=True))
    assert [(one.scope, one.scenario) for one in found.measurements] == [("compute", "single-stream")]
    assert found.notes[1].startswith("only compute of single samples was measured: pip install")
    assert found.anatomies[0].split is None


def test_a_runtime_that_was_asked_for_and_is_not_here_is_an_error(bundle, monkeypatch):
    def missing(*_, **__):
        raise MissingDependency("openvino", "openvino")

    monkeypatch.setattr("compactor_runtimes.profiling.subjects.golden_checks", missing)
    with pytest.raises(MissingDependency):
        profile_bundles([bundle.path], Wanted(runtimes=["openvino"]), SHORT)
    with pytest.raises(UnfitEnvironmentError, match="nothing can be measured here: fp32 @ ort-cpu: "):
        profile_bundles([bundle.path], Wanted(), SHORT)


def test_names_and_samples_that_are_none_are_refused(bundle, tmp_path):
    with pytest.raises(UsageError, match="unknown runtime 'ort-cpo'"):
        profile_bundles([bundle.path], Wanted(runtimes=["ort-cpo"]), SHORT)
    with pytest.raises(UsageError, match="no artifact 'fp23'; did you mean 'fp32'"):
        profile_bundles([bundle.path], Wanted(artifacts=["fp23"]), SHORT)
    with pytest.raises(UsageError, match=r"--samples .*none: no such file or folder"):
        profile_bundles([bundle.path], Wanted(), SHORT, samples=[tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="a folder without files found"):
        profile_bundles([bundle.path], Wanted(), SHORT, samples=[tmp_path / "empty"])


def test_images_and_texts_are_not_measured_together(bundle, tmp_path):
    texts = write_text_bundle(tmp_path / "texts")
    with pytest.raises(UsageError, match="take images and .* texts, expected bundles of one kind"):
        profile_bundles([bundle.path, getattr(texts, "path", tmp_path / "texts")], Wanted(), SHORT)


@pytest.mark.slow
def test_texts_are_read_line_by_line_and_batches_fit_the_graph(tmp_path):
    write_text_bundle(tmp_path / "texts")
    lines = tmp_path / "lines.txt"
    lines.write_text("on\n\noff now\n")
    settings = Settings(profile="smoke", scenarios=["offline"], cold_starts=0, offline_batches=[2, 5000])
    found = profile_bundles([tmp_path / "texts"], Wanted(), settings, samples=[lines])
    assert found.notes[0] == "samples: 2 given"
    assert found.notes[1].startswith("batches of 5000 were left out: the graphs take ")
    assert {one.batch for one in found.measurements} == {2}
