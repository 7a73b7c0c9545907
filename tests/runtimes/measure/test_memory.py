"""Memory of a process from the kernel's files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compactor_runtimes.measure.memory import read_memory


def test_fields_are_read_in_bytes(tmp_path):
    (tmp_path / "status").write_text("Name:\ttoy\nVmPeak:\t  900 kB\nVmHWM:\t  512 kB\nVmRSS:\t 100 kB\n")
    (tmp_path / "smaps_rollup").write_text(
        "5-7 ---p 0 0:0 0 [rollup]\nRss: 100 kB\nPss:     80 kB\nPss_Dirty: 1 kB\n"
    )
    found = read_memory(tmp_path)
    assert (found.rss_peak_bytes, found.rss_bytes, found.pss_bytes) == (512 * 1024, 100 * 1024, 80 * 1024)


def test_without_proc_the_peak_still_comes_from_the_process_itself(tmp_path):
    found = read_memory(tmp_path)
    assert found.rss_peak_bytes > 1 << 20
    assert found.pss_bytes is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_remembers_memory_that_is_gone():
    """In a process of its own: this one may have used gigabytes before."""
    script = """
import mmap
from compactor_runtimes.measure.memory import read_memory
size = 2 * read_memory().rss_peak_bytes
with mmap.mmap(-1, size) as block:
    for offset in range(0, size, mmap.PAGESIZE):
        block[offset] = 1
after = read_memory()
assert after.rss_peak_bytes >= size, after
assert after.pss_bytes < size, after
"""
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
