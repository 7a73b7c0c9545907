"""Peaks: measured in a process of its own with its own number of threads, and said by what."""

import pytest

from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.measure import peaks
from compactor_runtimes.measure.peaks import last_cache_bytes, measure_peaks


@pytest.mark.slow
def test_both_peaks_are_those_of_a_machine_and_name_the_library():
    found = measure_peaks(1, seconds=0.1)
    assert found.threads == 1
    assert 1e8 < found.flops_per_s < 1e13  # one core of anything that runs this
    assert 1e8 < found.bytes_per_s < 1e12
    assert found.measured_by.startswith("NumPy ")
    assert "float32 product of" in found.measured_by
    assert "copy of" in found.measured_by


def test_the_child_is_told_its_threads_and_its_failure_is_one_sentence(monkeypatch):
    asked = {}

    def run(command, **settings):
        asked.update(settings["env"], command=command)
        raise peaks.subprocess.CalledProcessError(9, command, stderr="Traceback\nMemoryError: no room\n")

    monkeypatch.setattr(peaks.subprocess, "run", run)
    with pytest.raises(UnfitEnvironmentError, match=r"with 3 threads \(exit code 9: MemoryError: no room\)"):
        measure_peaks(3)
    assert {asked[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert asked["command"][-2] == "3"


def test_an_answer_that_is_none_and_a_child_that_hangs_are_said(monkeypatch):
    def talk(command, **settings):
        return peaks.subprocess.CompletedProcess(command, 0, stdout="hello", stderr="")

    monkeypatch.setattr(peaks.subprocess, "run", talk)
    with pytest.raises(UnfitEnvironmentError, match="it answered no peaks"):
        measure_peaks(1)

    def hang(command, **settings):
        raise peaks.subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(peaks.subprocess, "run", hang)
    with pytest.raises(UnfitEnvironmentError, match="it took longer than"):
        measure_peaks(1)


@pytest.mark.parametrize(("text", "size"), [("32768K\n", 32 << 20), ("260M", 260 << 20), ("x", 0), ("", 0)])
def test_the_last_cache_is_read_as_the_kernel_writes_it(tmp_path, text, size):
    path = tmp_path / "size"
    path.write_text(text)
    assert last_cache_bytes(path) == size
    assert last_cache_bytes(tmp_path / "none") == 0
