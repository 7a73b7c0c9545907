"""How many cores this process may keep busy: affinity and the quota of its control group.

Apart from `environment.py`, which says more and takes longer to import, for every load asks it.
"""

import os
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def limited_cores(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Count the cores to use where affinity or a quota leaves fewer than the machine has; None without.

    Runtimes know nothing of quotas: of themselves they start a thread for each of the machine's cores, and
    these then wait for each other whenever the quota is used up.
    """
    cores = usable_cores(proc=proc, cgroup=cgroup)
    return cores if cores < (os.cpu_count() or 1) else None


def usable_cores(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Count the cores this process can keep busy: affinity, cut to the cgroup quota (rounded down, >= 1)."""
    quota = cpu_quota(proc=proc, cgroup=cgroup)
    cores = affinity_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(*, proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """Return the cgroup CPU limit in cores: the tightest of this group and its parents, None without one."""
    quotas = []
    for folder in cgroup_folders("", proc, cgroup):
        fields = read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":
            quotas.append(int(fields[0]) / int(fields[1]))
    for folder in cgroup_folders("cpu", proc, cgroup):
        limit, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")
        if limit and period and int(limit) > 0:
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def affinity_cores() -> int:
    """Count the cores that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_folders(controller: str, proc: Path, cgroup: Path) -> list[Path]:
    """List this process's folder and its parents for a v1 controller, or for v2 (controller "").

    In a container the path in /proc may not exist under the mount, whose root then is the container's group.
    """
    mounts = [cgroup, cgroup / "unified"] if not controller else [cgroup / controller]
    for line in read(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            group = Path(path.lstrip("/"))
            return [mount / part for mount in mounts for part in (group, *group.parents)]
    return mounts


def read(path: Path) -> str:
    """Return the stripped text of a kernel file, or "" where this kernel does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
