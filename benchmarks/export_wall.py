"""Wall time of whole exports from a model folder: `compactor export`, which verifies, and optimum's.

Both take MiniLM from the same folder, in fresh processes that take turns.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.export_models import MINILM
from benchmarks.export_peers import optimum_export


def wall(rounds: int) -> dict[str, Any]:
    """Seconds of every round, and how many of ours made the graph and how many checked it."""
    wall_s: dict[str, list[float]] = {"ours": [], "optimum": []}
    told: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds + 1):
            for name in wall_s if number % 2 else reversed(wall_s):
                place = Path(scratch) / name
                started = perf_counter()
                answer = _ours(place) if name == "ours" else optimum_export(place)
                taken = perf_counter() - started
                shutil.rmtree(place)
                if number == 0:  # reads everything from the disk for the first time: not counted
                    continue
                wall_s[name].append(taken)
                told += [answer] if answer else []
    return {
        "wall_s": wall_s,
        "ratios": [ours / theirs for ours, theirs in zip(*wall_s.values(), strict=True)],
        "export_s": [one["seconds"]["export"] for one in told],
        "verify_s": [one["seconds"]["verify"] for one in told],
        "shapes": min(one["shapes"] for one in told),
    }


def _ours(place: Path) -> dict[str, Any]:
    command = [Path(sys.executable).with_name("compactor"), "export", MINILM, "-o", place]
    words = [*map(str, command), "--variants", "fp32", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
