"""Which families of timm export: the smallest model of each, with random weights, to verified fp32 ONNX.

Each is exported and verified as a release does it, in a process of its own. What fails must be refused by the
check before training too: a student that turns out not to be exportable after it was trained is lost work.
A model that takes more than MOST_GIB or LIMIT_S is not counted, and named.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Run
from benchmarks.timm_families import SMALLEST
from benchmarks.workers import ROOT

NAME = "timm_exportable"
COMMAND = "python -m benchmarks.run timm_exportable"
WORKER = "benchmarks.timm_exportable_worker"
COMPUTES = {"": (WORKER, "compactor.release.artifacts", "compactor_exporters.onnx_fp32")}
SETTINGS = {"weights": "random", "variant": "fp32"}
MOST_GIB, EVERY_S = 6.0, 0.25
LIMIT_S = 300.0  # of CPU time, so that it does not matter what else the machine does
HANGS = 20  # times as long by the clock, and it does not go on at all
TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
RSS = re.compile(r"VmRSS:\s+(\d+) kB")


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """One run a family."""
    return [{"family": family, "model": model} for family, model in SMALLEST.items()]


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the worker; `stopped` says which limit ended it, `peak_gib` how much memory it took.

    Raises:
        RuntimeError: the worker failed by itself.
    """
    command = [sys.executable, "-m", WORKER, settings["model"]]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    started_s, peak, stopped = time.perf_counter(), 0.0, ""
    used_s = 0.0
    try:
        while process.poll() is None and not stopped:
            time.sleep(EVERY_S)
            resident, used_s = _used(process.pid, used_s)
            peak = max(peak, resident)
            if peak > MOST_GIB:
                stopped = f"takes more than {MOST_GIB:g} GiB"
            elif max(used_s, (time.perf_counter() - started_s) / HANGS) > LIMIT_S:
                stopped = f"takes more than {LIMIT_S:g} s of CPU time"
    finally:
        process.kill()
        said, _ = process.communicate()
    result = {"passed": False, "reason": stopped, "stopped": stopped, "peak_gib": round(peak, 2)}
    result["cpu_s"] = round(used_s, 1)
    if stopped:
        return result
    if process.returncode:
        raise RuntimeError(f"{settings['model']}: the worker ended with status {process.returncode}")
    result |= json.loads(said.splitlines()[-1])
    if not result["passed"]:
        result["found_before"] = "image" not in result or _is_found_before(settings["model"], result["image"])
    return result


def _is_found_before(model: str, image: list[int]) -> bool:
    """Whether the check before training refuses it too."""
    from benchmarks.timm_exportable_worker import info_of
    from compactor.recipe.spec import ModelSpec
    from compactor.run.traced import trace

    return trace(ModelSpec(model=f"timm:{model}"), info_of(*image), base=ROOT).verdict == "cannot"


def _used(pid: int, before_s: float) -> tuple[float, float]:
    """Resident memory in GiB and CPU time in s of a process; of one that has just ended, what was known."""
    try:
        status, stat = (Path(f"/proc/{pid}/{name}").read_text() for name in ("status", "stat"))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, before_s
    found, times = RSS.search(status), stat.rpartition(")")[2].split()[11:13]
    return int(found[1]) / 2**20 if found else 0.0, sum(map(int, times)) * TICKS_S


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Share that exports, what does not by name, and how much of that only training would have shown."""
    from compactor_runtimes.stats.metrics import wilson

    large = [run for run in runs if run["result"]["stopped"]]
    counted = [run for run in runs if not run["result"]["stopped"]]
    failed = [run for run in counted if not run["result"]["passed"]]
    late = [run for run in failed if not run["result"]["found_before"]]
    n, good = len(counted), len(counted) - len(failed)
    low, high = wilson(good, n)
    about = "families of timm whose smallest model exports to verified fp32 ONNX"
    return {
        "timm_exportable": Figure(good / n, "share", n, low, high, f"{about}{_named(failed)}", ">= 95%"),
        "timm_found_after_training": _count(
            late, failed, f"of those that do not, what only training would have shown{_named(late)}", "0"
        ),
        "timm_families": _count(
            counted, runs, f"families whose smallest model fits this machine{_named(large)}"
        ),
    }


def _named(runs: list[Run]) -> str:
    """Names and reasons, as the end of a sentence."""
    told = [
        f"{run['settings']['model']} ({run['result']['stopped'] or run['result']['reason']})" for run in runs
    ]
    return f"; not so: {'; '.join(told)}" if told else ""


def _count(some: list[Run], of: list[Run], about: str, goal: str = "") -> Figure:
    return Figure(len(some), f"of {len(of)}", len(of), len(some), len(some), about, goal)
