"""Read the memory of one process from the kernel."""

import resource
import sys
from pathlib import Path

from compactor_runtimes.measure.measurement import MemoryUse

PROC_SELF = Path("/proc/self")
History = list[tuple[float, MemoryUse]]
"""Memory at moments of the monotonic clock: at the start, with the runtime open, rehearsed."""


def read_memory(folder: Path = PROC_SELF) -> MemoryUse:
    """Read peak (VmHWM) and present resident size and proportional size (PSS) from a process's /proc folder.

    Without /proc, this process's own peak comes from getrusage, stands for the present size too, and PSS is
    None.
    """
    peak = _field(folder / "status", "VmHWM")
    if peak is None:
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there, KiB elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return MemoryUse(
        rss_peak_bytes=peak,
        rss_bytes=_field(folder / "status", "VmRSS") or peak,
        pss_bytes=_field(folder / "smaps_rollup", "Pss"),
    )


def _field(path: Path, name: str) -> int | None:
    """Return a `Name:  123 kB` field in bytes, or None where this kernel or this user may not see it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None
