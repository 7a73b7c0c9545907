"""The description of the machine, on fake kernel files and on the real ones."""

import getpass
import json
import os
import socket

import pytest

from compactor_runtimes import environment


@pytest.fixture
def kernel(tmp_path):
    """Write files under a fake /proc and /sys/fs/cgroup; returns the two roots and the writer."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return {"proc": tmp_path / "proc", "cgroup": tmp_path / "cgroup"}, write


def test_cgroup_v2_takes_the_tightest_limit_of_group_and_parents(kernel):
    roots, write = kernel
    write("proc/self/cgroup", "0::/slice/job\n")
    write("cgroup/slice/job/cpu.max", "max 100000\n")
    write("cgroup/slice/cpu.max", "150000 100000\n")
    write("cgroup/slice/job/memory.max", "2000000\n")
    write("cgroup/slice/memory.max", "max\n")
    assert environment.cpu_quota(**roots) == 1.5
    assert environment.memory_limit(**roots) == 2_000_000


def test_cgroup_v1_reads_each_controllers_own_group(kernel):
    roots, write = kernel
    write("proc/self/cgroup", "5:cpuacct,cpu:/box\n4:memory:/other\n0::/\n")
    write("cgroup/cpu/box/cpu.cfs_quota_us", "50000")
    write("cgroup/cpu/box/cpu.cfs_period_us", "100000")
    write("cgroup/memory/other/memory.limit_in_bytes", "1048576")
    write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert environment.cpu_quota(**roots) == 0.5
    assert environment.memory_limit(**roots) == 1 << 20


def test_no_limits_are_none(kernel):
    roots, write = kernel
    assert environment.cpu_quota(**roots) is None
    write("proc/self/cgroup", "2:cpu:/\n")
    write("cgroup/cpu/cpu.cfs_quota_us", "-1")
    write("cgroup/cpu/cpu.cfs_period_us", "100000")
    write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert environment.cpu_quota(**roots) is None
    assert environment.memory_limit(**roots) is None


def test_container_whose_path_is_not_mounted_uses_the_mounts_root(kernel):
    roots, write = kernel
    write("proc/self/cgroup", "0::/docker/abc\n")
    write("cgroup/cpu.max", "200000 100000")
    assert environment.cpu_quota(**roots) == 2


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("250000", 2), ("400000", 4), ("max", 4)])
def test_usable_cores_honour_affinity_and_quota(kernel, monkeypatch, quota, cores):
    roots, write = kernel
    write("proc/self/cgroup", "0::/\n")
    write("cgroup/cpu.max", f"{quota} 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert environment.usable_cores(**roots) == cores


def test_instruction_sets_of_x86_and_arm(kernel):
    roots, write = kernel
    write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Toy CPU\nflags\t\t: fpu avx2 avx512_vnni\n")
    assert environment.isa_flags(proc=roots["proc"]) == ["avx2", "avx512_vnni"]
    assert environment.cpu_model(proc=roots["proc"]) == "Toy CPU"
    write("proc/cpuinfo", "Features\t: fp asimd asimddp\n")
    assert environment.isa_flags(proc=roots["proc"]) == ["asimd", "dotprod"]


def test_gpu_names_come_from_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.gpu_names() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Toy GPU, 1.0, 8 MiB'\n")
    program.chmod(0o755)
    assert environment.gpu_names() == ["Toy GPU, 1.0, 8 MiB"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert environment.gpu_names() == []


def test_description_is_complete_json_without_names_of_host_user_or_folders():
    found = environment.describe()
    assert found["usable_cores"] >= 1
    assert found["packages"]["numpy"]
    assert found["ram_bytes"] > 1 << 20
    text = json.dumps(found)
    for secret in (os.path.expanduser("~"), os.getcwd()):
        assert secret not in text
    words = set(text.replace('"', " ").replace(",", " ").split())
    assert not words & {socket.gethostname(), getpass.getuser()}
