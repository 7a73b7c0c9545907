"""Does distillation help on digits? The shipped recipe's student with and without its teachers, equal steps.

Both arms get the same tuning: three learning rates, chosen by mean accuracy on select over the seeds; the
report split is read for the chosen rate alone. The teachers are trained once for each seed, as the recipe
says.
"""

from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run

NAME = "digits_kd"
COMMAND = "make acceptance"
SEEDS, RATES, ROWS = (0, 1, 2), (0.03, 0.1, 0.3), (60, 200, 1168)
SETTINGS = {
    "student": "cifar:resnet8 width 8",
    "teachers": "cifar:resnet20 + cifar:resnet14, trained on all 1,168 train rows",
    "steps": 570,
    "batch": 64,
    "rates": list(RATES),
    "train_rows_of_the_student": list(ROWS),
}
ARMS = ("supervised", "kd")


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Every arm, rate and number of student rows, for every seed."""
    return [
        {"arm": arm, "lr": rate, "rows": rows, "seed": seed}
        for seed in SEEDS
        for rows in ROWS
        for arm in ARMS
        for rate in RATES
    ]


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run."""
    return f"{settings['arm']}_{settings['rows']}"


def recipe(settings: dict[str, Any]) -> Any:
    """Return the shipped recipe with fewer rows for the student, or without its teachers."""
    from compactor.recipe.load import load_recipe

    overrides = [
        "measure.teacher=torch",  # as it was when the first results were kept; nothing is measured here
        f"seed={settings['seed']}",
        "stages.2.steps=570",
        "stages.2.epochs=null",
        f"stages.2.lr={settings['lr']}",
        f"stages.2.data={{dataset: digits, limit: {{train: {settings['rows']}}}}}",
    ]
    if settings["arm"] == "supervised":
        overrides += ["stages.2.method=supervised", "stages.2.options={}"]
    return load_recipe("digits", overrides)


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one student; keep which report samples it gets right."""
    from compactor.tasks.image_classification import TASK

    return score(train(recipe(settings), NAME), TASK)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of each arm at its own best rate, and the paired gain, for every number of rows."""
    found: dict[str, Figure] = {}
    for rows in ROWS:
        right = {}
        for arm in ARMS:
            mine = [run for run in runs if run["settings"]["arm"] == arm and run["settings"]["rows"] == rows]
            rate = best_rate(mine)
            right[arm] = at_rate(mine, rate)
            about = f"{arm}, {rows} student rows, lr {rate:g} chosen on select"
            found[f"top1_{arm}_{rows}"] = top1(right[arm], about, f"{arm}_{rows}")
        about = f"kd minus supervised, {rows} student rows"
        found[f"kd_gain_{rows}"] = gain(
            right["supervised"], right["kd"], about, *(f"{arm}_{rows}" for arm in ARMS)
        )
    return found
