"""Describe the machine that a number was taken on: CPU, cores and limits, memory, versions, GPU.

Nothing here names a host, a user or a path, so a description may be published with the results.
"""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ISA_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "asimd": "asimd",
    "asimddp": "dotprod",  # what the Linux kernel calls the ARM dot-product instructions
    "i8mm": "i8mm",
}
INT8_DOT = {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"}
PACKAGES = (
    *("compactor-toolkit", "numpy", "msgspec", "torch", "torchvision", "timm", "transformers", "accelerate"),
    *("onnx", "onnxscript", "onnxslim", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx", "pillow", "safetensors", "tokenizers", "mlcommons-loadgen", "psutil"),
)
PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


def describe() -> dict[str, Any]:
    """Describe this machine and Python as JSON-ready values; what cannot be found out is None or empty."""
    return {
        "cpu": cpu_model(),
        "arch": platform.machine(),
        "isa": isa_flags(),
        "logical_cores": os.cpu_count(),
        "affinity_cores": _affinity_cores(),
        "cgroup_cpu_quota": cpu_quota(),
        "usable_cores": usable_cores(),
        "cgroup_memory_bytes": memory_limit(),
        "ram_bytes": _ram_bytes(),
        "os": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": package_versions(),
        "gpus": gpu_names(),
    }


def usable_cores(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Count the cores this process can keep busy: affinity, cut to the cgroup quota (rounded down, >= 1)."""
    quota = cpu_quota(proc=proc, cgroup=cgroup)
    cores = _affinity_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(*, proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """Return the cgroup CPU limit in cores: the tightest of this group and its parents, None without one."""
    quotas = []
    for folder in cgroup_folders("", proc, cgroup):
        fields = _read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":
            quotas.append(int(fields[0]) / int(fields[1]))
    for folder in cgroup_folders("cpu", proc, cgroup):
        limit, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if limit and period and int(limit) > 0:
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Return the cgroup memory limit in bytes: the tightest of group and parents, None without one."""
    limits = [_read(folder / "memory.max") for folder in cgroup_folders("", proc, cgroup)]
    limits += [_read(folder / "memory.limit_in_bytes") for folder in cgroup_folders("memory", proc, cgroup)]
    return min((int(text) for text in limits if text.isdigit() and int(text) < _UNLIMITED), default=None)


def cpu_model(*, proc: Path = PROC) -> str | None:
    """Return the CPU's name as the kernel or the platform gives it."""
    return _cpuinfo("model name", proc) or platform.processor() or None


def isa_flags(*, proc: Path = PROC) -> list[str]:
    """List the instruction sets of interest that this CPU has, under the names of ISA_FLAGS."""
    found = set(_cpuinfo("flags", proc).split()) | set(_cpuinfo("Features", proc).split())
    return [name for flag, name in ISA_FLAGS.items() if flag in found]


def has_int8_dot(isa: list[str]) -> bool:
    """Whether instruction sets (as `isa_flags` lists them) add 8-bit products without saturating."""
    return not INT8_DOT.isdisjoint(isa)


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages of interest, without importing any."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def gpu_names() -> list[str]:
    """List NVIDIA GPUs as `name, driver, memory`; empty without a working nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _affinity_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def cgroup_folders(controller: str, proc: Path, cgroup: Path) -> list[Path]:
    """List this process's folder and its parents for a v1 controller, or for v2 (controller "").

    In a container the path in /proc may not exist under the mount, whose root then is the container's group.
    """
    mounts = [cgroup, cgroup / "unified"] if not controller else [cgroup / controller]
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            group = Path(path.lstrip("/"))
            return [mount / part for mount in mounts for part in (group, *group.parents)]
    return mounts


def _cpuinfo(key: str, proc: Path) -> str:
    for line in _read(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    """Return the stripped text of a kernel file, or "" where this kernel does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
