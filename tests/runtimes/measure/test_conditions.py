"""What the machine did besides: counters of a made-up kernel, and a real busy neighbour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compactor_runtimes.measure.conditions import Conditions, between, pooled, read_counters, watch

TICK = os.sysconf("SC_CLK_TCK")


def kernel(folder, *, stat, own=0, cgroup="", heat=0):
    """Lay out the files of a kernel; times in ticks."""
    proc, groups, cpus = folder / "proc", folder / "cgroup", folder / "cpu"
    for path in (proc / "self", proc / str(os.getpid()), groups, cpus / "cpu0/thermal_throttle"):
        path.mkdir(parents=True, exist_ok=True)
    (proc / "stat").write_text(f"cpu {stat}\ncpu0 1 2 3\n")
    (proc / "self/cgroup").write_text("0::/\n")
    (proc / str(os.getpid()) / "stat").write_text(f"1 (a) b) S {' '.join('0' * 10)} {own} 0 0 0 9 9\n")
    (groups / "cpu.stat").write_text(cgroup)
    (cpus / "cpu0/thermal_throttle/core_throttle_count").write_text(f"{heat}\n")
    return read_counters(proc=proc, cgroup=groups, heat=cpus)


def test_others_are_what_is_busy_and_not_ours(tmp_path):
    before = kernel(tmp_path, stat="100 0 0 900 0 0 0 0 0 0", own=10, cgroup="throttled_usec 1000000", heat=1)
    after = kernel(tmp_path, stat="140 5 5 940 0 0 0 10 0 0", own=40, cgroup="throttled_usec 1500000", heat=4)
    found = between(before, after)
    # 100 ticks went by, 50 of them busy and 30 of these our own
    assert found.others == pytest.approx(0.20)
    assert found.steal == pytest.approx(0.10)
    assert found.throttled_s == pytest.approx(0.5)
    assert found.heat_events == 3


def test_without_counters_nothing_is_known_and_nothing_breaks(tmp_path):
    empty = read_counters(proc=tmp_path, cgroup=tmp_path, heat=tmp_path)
    assert between(empty, empty) == Conditions(seconds=0.0)


def test_shares_are_pooled_by_their_time():
    found = pooled([Conditions(seconds=3, others=0.1), Conditions(seconds=1, others=0.5, heat_events=2)])
    assert found.others == pytest.approx(0.2)
    assert (found.steal, found.heat_events) == (None, 2)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
def test_a_busy_neighbour_is_seen_and_one_of_ours_is_not():
    busy = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", busy]) as neighbour:
        try:
            theirs, ours = watch(seconds=1.0), watch([neighbour.pid], seconds=1.0)
        finally:
            neighbour.kill()
    cores = os.cpu_count() or 1
    assert theirs.others > 0.5 / cores
    assert ours.others < theirs.others
