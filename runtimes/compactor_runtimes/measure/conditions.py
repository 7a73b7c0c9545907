"""What the machine did besides while something was measured: other processes, steal, quota and heat.

Everything is read from the kernel's counters before and after; what a kernel does not count is None.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from compactor_runtimes.environment import CGROUP, PROC, cgroup_folders

HEAT = Path("/sys/devices/system/cpu")
WATCH_SECONDS = 0.5
_STEAL = 7


@dataclass(frozen=True)
class Counters:
    """Kernel counters at one moment: seconds of all cores together since the start of the machine."""

    wall_s: float
    total_s: float | None
    busy_s: float
    steal_s: float
    own_s: float
    throttled_s: float
    heat_events: int


@dataclass(frozen=True)
class Conditions:
    """What happened meanwhile: shares of all cores' time, seconds of quota, how often heat slowed cores."""

    seconds: float = 0.0
    others: float | None = None
    steal: float | None = None
    throttled_s: float = 0.0
    heat_events: int = 0


def read_counters(
    own: Iterable[int] = (), *, proc: Path = PROC, cgroup: Path = CGROUP, heat: Path = HEAT
) -> Counters:
    """Read all counters; `own` are the processes whose CPU time is our own, beside this one."""
    tick = os.sysconf("SC_CLK_TCK")
    fields = _fields(proc / "stat")
    total = sum(fields[:8]) / tick if fields else None
    busy = (sum(fields[:3]) + sum(fields[5:7])) / tick if fields else 0.0
    return Counters(
        wall_s=monotonic(),
        total_s=total,
        busy_s=busy,
        steal_s=fields[_STEAL] / tick if len(fields) > _STEAL else 0.0,
        own_s=sum(_process_ticks(proc / str(pid) / "stat") for pid in (os.getpid(), *own)) / tick,
        throttled_s=_throttled_s(proc, cgroup),
        heat_events=_heat_events(heat),
    )


def between(before: Counters, after: Counters) -> Conditions:
    """What happened from one moment to the other."""
    seconds = after.wall_s - before.wall_s
    others = steal = None
    if before.total_s is not None and after.total_s is not None and after.total_s > before.total_s:
        total = after.total_s - before.total_s
        # counters tick in hundredths of a second, so that a short time may seem to be less than our own
        others = max(after.busy_s - before.busy_s - (after.own_s - before.own_s), 0.0) / total
        steal = max(after.steal_s - before.steal_s, 0.0) / total
    return Conditions(
        seconds=seconds,
        others=others,
        steal=steal,
        throttled_s=max(after.throttled_s - before.throttled_s, 0.0),
        heat_events=max(after.heat_events - before.heat_events, 0),
    )


def pooled(several: Iterable[Conditions]) -> Conditions:
    """All of them together, shares weighed by their time."""
    each = list(several)
    seconds = sum(one.seconds for one in each)

    def share(values: list[tuple[float, float | None]]) -> float | None:
        known = [(weight, value) for weight, value in values if value is not None]
        total = sum(weight for weight, _ in known)
        return sum(weight * value for weight, value in known) / total if total else None

    return Conditions(
        seconds=seconds,
        others=share([(one.seconds, one.others) for one in each]),
        steal=share([(one.seconds, one.steal) for one in each]),
        throttled_s=sum(one.throttled_s for one in each),
        heat_events=sum(one.heat_events for one in each),
    )


def watch(own: Iterable[int] = (), *, seconds: float = WATCH_SECONDS) -> Conditions:
    """Look on for a while, in which nothing of ours should run."""
    mine = list(own)
    before = read_counters(mine)
    sleep(seconds)
    return between(before, read_counters(mine))


def _fields(path: Path) -> list[int]:
    """The numbers of the first line of /proc/stat; empty where there is none."""
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return []
    return [int(word) for word in first.split()[1:]]


def _process_ticks(path: Path) -> int:
    """User and system time of a process and the children that it waited for; 0 if it is gone."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return 0
    return sum(int(word) for word in text.rpartition(")")[2].split()[11:15])


def _throttled_s(proc: Path, cgroup: Path) -> float:
    """How long the quota stopped this group or one of its parents: the longest of them."""
    seconds = [0.0]
    for controller in ("", "cpu"):
        for folder in cgroup_folders(controller, proc, cgroup):
            try:
                text = (folder / "cpu.stat").read_text(encoding="utf-8")
            except OSError:
                continue
            for name, _, value in (line.partition(" ") for line in text.splitlines()):
                if name == "throttled_usec":
                    seconds.append(int(value) / 1e6)
                elif name == "throttled_time":  # version 1 counts nanoseconds
                    seconds.append(int(value) / 1e9)
    return max(seconds)


def _heat_events(folder: Path) -> int:
    """How often any core was slowed for heat since the start of the machine."""
    events = 0
    for path in folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        try:
            events += int(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return events
