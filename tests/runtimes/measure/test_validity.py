"""The rules that make a measurement INVALID."""

import pytest

from compactor_runtimes.measure.validity import machine_reasons, sample_reasons

psutil = pytest.importorskip("psutil")


def test_steady_blocks_with_enough_samples_are_valid():
    assert sample_reasons("compute", "single-stream", [100] * 22 + [124] * 22, [0] * 22 + [1] * 22) == []


def test_drifting_blocks_are_named_with_their_drift():
    found = sample_reasons("compute", "single-stream", [100] * 22 + [130] * 22, [0] * 22 + [1] * 22)
    assert found == ["block medians differ by 30% (limit 25%)"]


def test_samples_below_p90_are_named():
    found = sample_reasons("end-to-end", "single-stream", [100] * 43, [0] * 43)
    assert found == ["43 samples carry no percentile beyond the median (p90 needs 44)"]
    assert sample_reasons("compute", "offline", [100] * 3, [0] * 3) == []  # throughput has no percentiles


def test_cold_starts_need_three_and_may_differ_more():
    assert sample_reasons("cold-start", "once", [100, 140, 120], [0, 1, 2]) == []
    assert sample_reasons("cold-start", "once", [100, 160, 120], [0, 1, 2]) == [
        "cold starts differ by 60% (limit 50%)"
    ]
    assert sample_reasons("cold-start", "once", [100], [0]) == ["1 cold starts (needs 3)"]


def test_machine_is_asked_for_cores_and_strangers(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 20.0)
    assert machine_reasons(1) == []
    assert machine_reasons(None) == []
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 63.4)
    crowded, busy = machine_reasons(4096)
    assert crowded.startswith("4096 threads on ")
    assert busy == "other processes used 63% of the CPU before the start (limit 20%)"
