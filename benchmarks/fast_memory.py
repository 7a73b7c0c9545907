"""Whether memory hangs on the number of rows: plan and train a small text encoder on 10,000 to 1,000,000.

An arm of the suite `fast`; each run is a process of its own, and all of them share one cache, as a user's do.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fast_memory_worker import write_rows
from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import ROOT

ROWS = (10_000, 100_000, 1_000_000)
STEPS, REPEATS = 60, 3
ARM = "memory"


def settings() -> list[dict[str, Any]]:
    """Each number of rows, three times."""
    return [
        {"arm": ARM, "rows": rows, "repeat": repeat, "steps": STEPS}
        for repeat in range(REPEATS)
        for rows in ROWS
    ]


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Plan with an empty cache, plan again, and train, each in a fresh process.

    Raises:
        RuntimeError: one failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as place:
        recipe = write_rows(Path(place) / "data", settings["rows"], settings["steps"])
        environment = os.environ | {"COMPACTOR_CACHE": str(Path(place) / "cache")}
        found = {}
        for name, subject in (("first_plan", "plan"), ("plan", "plan"), ("train", "train")):
            command = [sys.executable, "-m", "benchmarks.fast_memory_worker", subject, str(recipe)]
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{name} of {settings['rows']} rows: {done.stderr[-2000:]}")
            found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Peak memory of a million rows over that of ten thousand, and seconds of a plan of a million."""
    by = {(run["settings"]["rows"], run["settings"]["repeat"]): run["result"] for run in runs}
    few, many = ROWS[0], ROWS[-1]
    repeats = sorted({repeat for rows, repeat in by if rows == many and (few, repeat) in by})
    if not repeats:
        return {}  # not run yet

    def ratio(name: str) -> list[float]:
        return [by[many, one][name]["peak_bytes"] / by[few, one][name]["peak_bytes"] for one in repeats]

    rows = f"{many:,} short texts over {few:,}"
    return {
        "rss_1m_over_10k": spread(
            ratio("train"), "times", f"peak memory of plan and {STEPS} steps, {rows}", "<= 1.3", (ARM,)
        ),
        "rss_plan_1m_over_10k": spread(
            ratio("first_plan"), "times", f"peak memory of a plan with an empty cache, {rows}", "", (ARM,)
        ),
        "plan_1m_s": spread(
            [by[many, one]["plan"]["plan_s"] for one in repeats],
            "s",
            f"plan of {many:,} short texts that were planned before",
            "< 5",
            (ARM,),
        ),
        "plan_1m_first_s": spread(
            [by[many, one]["first_plan"]["plan_s"] for one in repeats],
            "s",
            f"plan of {many:,} short texts with an empty cache",
            "",
            (ARM,),
        ),
    }
