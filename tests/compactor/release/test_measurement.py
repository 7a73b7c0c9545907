"""Who is measured: the teachers a second time where they can be exported, and why not where they cannot."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compactor.progress import SilentReporter
from compactor.release import measurement
from compactor.release.measurement import onnx_name, with_floors
from compactor_runtimes.errors import InterruptedRun, UnfitEnvironmentError, UsageError
from compactor_runtimes.measure.anatomy import Anatomy, Peaks, Work
from compactor_runtimes.measure.measurement import Candidate


def job(folder: Path) -> Any:
    return SimpleNamespace(
        name="toy",
        task=None,
        data=SimpleNamespace(select=None),
        folder=folder,
        models=[],
        teachers=[SimpleNamespace(name="resnet20", folder=folder)],
        reporter=SilentReporter(),
        kept_teachers=None,
    )


TOGETHER = Candidate(
    name="resnet20 (torch)",
    runtime=measurement.TORCH,
    source="teachers.json",
    digest="",
    size_bytes=1,
    parameters=1,
    pre=[],
    post=[],
    labels={},
    assets=".",
)


def test_the_exported_name_is_the_torch_name_with_another_end() -> None:
    assert onnx_name(["resnet20"]) == "resnet20 (onnx)"
    assert onnx_name(["a", "b"]) == "teachers (onnx)"


@pytest.mark.parametrize("error", [UsageError("cannot trace\nat all"), RuntimeError("cannot trace\nat all")])
def test_what_cannot_be_exported_is_noted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(measurement, "export_teachers", fails)
    notes: list[str] = []
    assert measurement._exported(job(tmp_path), TOGETHER, notes) == []
    (note,) = notes
    assert note.startswith("resnet20 (onnx): was not exported, so the teachers were measured in torch alone")
    assert note.endswith("cannot trace")


def test_an_interruption_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object, **__: object) -> None:
        raise InterruptedRun("stopped")

    monkeypatch.setattr(measurement, "export_teachers", stops)
    with pytest.raises(InterruptedRun):
        measurement._exported(job(tmp_path), TOGETHER, [])


WORKS = Anatomy(subject="a", work=Work(flops=2_000, bytes=4_000, counted_by="hand"))


def test_a_floor_is_the_slower_of_compute_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = Peaks(flops_per_s=1e9, bytes_per_s=1e9, threads=2, measured_by="hand")
    monkeypatch.setattr(measurement, "measure_peaks", lambda threads: peaks)
    with_floor, without = with_floors([WORKS, Anatomy(subject="b")], 2, [])
    assert with_floor.roofline is not None
    assert (with_floor.roofline.floor_ns, with_floor.roofline.bound) == (4_000, "memory")
    assert without.roofline is None


def test_peaks_that_cannot_be_measured_cost_a_note_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(threads: int) -> None:
        raise UnfitEnvironmentError("peaks of this machine: could not be measured")

    monkeypatch.setattr(measurement, "measure_peaks", fails)
    notes: list[str] = []
    assert with_floors([WORKS], None, notes) == [WORKS]
    assert notes == ["peaks of this machine: could not be measured"]
