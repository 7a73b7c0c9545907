"""FKD with one recorded crop of an image a step, tuned like the arms of the ferkd suite and paired with them.

With one crop, a step sees as many images as on-line distillation does; what differs is that the 16 crops of
an image are drawn once, and that no teacher runs. The store is that of the ferkd suite.
"""

import json
from typing import Any

from benchmarks.arms import at_rate, best_rate, gain, top1
from benchmarks.results_file import RESULTS, Figure, Run, spread
from benchmarks.suites import ferkd

NAME = "fkd_one_crop"
COMMAND = "make acceptance"
SOURCES = (*ferkd.SOURCES, "benchmarks.suites.ferkd")
SETTINGS = {**ferkd.SETTINGS, "crops_per_image": 1}
ARM = "fkd_n1"


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """All rates with the first seed, then the best on select with the others."""
    todo = [{**ferkd.BASE, "arm": ARM, "lr": rate, "seed": ferkd.SEEDS[0]} for rate in ferkd.RATES]
    if len(runs) >= len(todo):
        best = best_rate(runs[: len(todo)])
        todo += [{**ferkd.BASE, "arm": ARM, "lr": best, "seed": seed} for seed in ferkd.SEEDS[1:]]
    return todo


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one student as the ferkd suite does."""
    return ferkd.execute(settings)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy, and paired gains over the arms of the ferkd suite on the same samples."""
    rate = best_rate(runs[: len(ferkd.RATES)])
    mine = at_rate(runs, rate)
    found = {"top1_fkd_n1": top1(mine, f"{ferkd.WHAT[ARM]}, resnet8, lr {rate:g} chosen on select")}
    others = ferkd._arms(json.loads((RESULTS / f"{ferkd.NAME}.json").read_text())["runs"])
    for arm, about in (("supervised", "hard labels"), ("online_kd", "a live teacher"), ("fkd_n4", "4 crops")):
        theirs = at_rate(others[arm], others[arm][0]["settings"]["lr"])
        found[f"fkd_n1_minus_{arm}"] = gain(theirs, mine, f"FKD with 1 crop an image minus {about}")
    seconds = [run["result"]["train_s"] for run in runs if run["settings"]["lr"] == rate]
    return found | {"train_s_fkd_n1": spread(seconds, "s", f"{ferkd.WHAT[ARM]}, 2,000 steps")}
