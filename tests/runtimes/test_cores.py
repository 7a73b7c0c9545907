"""Cores that this process may keep busy, on fake kernel files."""

import os
import subprocess
import sys

import pytest

from compactor_runtimes.cores import limited_cores, usable_cores


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A machine of 8 cores, 4 of them by affinity, whose group has a quota in thousandths of a core."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "cgroup").mkdir()

    def write(quota):
        (tmp_path / "cgroup/cpu.max").write_text(f"{quota} 1000\n")
        return {"proc": tmp_path / "proc", "cgroup": tmp_path / "cgroup"}

    return write


@pytest.mark.parametrize(("quota", "cores"), [(500, 1), (2500, 2), (9000, 4), ("max", 4)])
def test_cores_are_limited_by_the_tighter_of_affinity_and_quota(kernel, quota, cores):
    roots = kernel(quota)
    assert usable_cores(**roots) == limited_cores(**roots) == cores


def test_without_a_limit_the_choice_is_left_to_the_runtime(kernel, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert limited_cores(**kernel("max")) is None
    assert limited_cores(**kernel(8000)) is None
    assert limited_cores(**kernel(7999)) == 7


def test_asking_loads_nothing_that_describes_the_machine():
    code = (
        "import sys, compactor_runtimes.cores\n"
        "slow = {'compactor_runtimes.environment', 'subprocess', 'importlib.metadata'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-S", "-c", code], env=environment, check=True)
