"""Does distillation help on digits? The shipped recipe's student with and without its teachers, equal steps.

Both arms get the same tuning: three learning rates, chosen by mean accuracy on select over the seeds; the
report split is read for the chosen rate alone. The teachers are trained once for each seed, as the recipe
says.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results_file import Figure, Run

NAME = "digits_kd"
COMMAND = "make acceptance"
SOURCES = (
    "compactor.trainer.fit",
    "compactor.run.stages",
    "compactor.methods.supervised",
    "compactor.methods.kd",
    "compactor.models.cifar",
    "compactor.data.digits",
)
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


def plan() -> list[dict[str, Any]]:
    """Every arm, rate and number of student rows, for every seed."""
    return [
        {"arm": arm, "lr": rate, "rows": rows, "seed": seed}
        for seed in SEEDS
        for rows in ROWS
        for arm in ARMS
        for rate in RATES
    ]


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one student; keep which report samples it gets right."""
    from compactor.evaluation import split_labels, student_answers
    from compactor.models.build import load_model_folder
    from compactor.progress import SilentReporter
    from compactor.recipe import load_recipe
    from compactor.run.journal import Journal
    from compactor.run.plan import make_plan
    from compactor.run.stages import train_stage
    from compactor.tasks.image_classification import TASK
    from compactor_runtimes.metrics import correct

    overrides = [
        f"seed={settings['seed']}",
        "stages.2.steps=570",
        "stages.2.epochs=null",
        f"stages.2.lr={settings['lr']}",
    ]
    overrides += [f"stages.2.data={{dataset: digits, limit: {{train: {settings['rows']}}}}}"]
    if settings["arm"] == "supervised":
        overrides += ["stages.2.method=supervised", "stages.2.options={}"]
    loaded = load_recipe("digits", overrides)
    cache = Path(__file__).parents[1] / ".cache" / "digits_kd"
    plan_of_run = make_plan(loaded, cache)
    done: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for stage in loaded.recipe.stages:
            digest = plan_of_run.digests[stage.id]
            shared = stage.id.startswith("teacher")
            folder = (cache if shared else Path(scratch)) / f"{stage.id}-{digest[:12]}"
            if (folder / "done.json").is_file():
                done[stage.id] = folder / "student"
                continue
            done[stage.id] = train_stage(
                loaded,
                stage,
                folder,
                digest=digest,
                done=done,
                reporter=SilentReporter(),
                journal=Journal(None),
            )
        data = TASK.open(loaded.recipe.data, base=loaded.base)
        student = load_model_folder(done["distil"])
        right = {
            split.name: correct(
                student_answers(student, TASK.batches(split))[TASK.head], split_labels(TASK, split)
            ).astype(int)
            for split in (data.select, data.report)
        }
    return {
        "select_accuracy": float(right["select"].mean()),
        "report_right": "".join(str(value) for value in right["report"]),
    }


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of each arm at its own best rate, and the paired gain, for every number of rows."""
    import numpy as np

    from compactor_runtimes.metrics import bootstrap_difference

    found: dict[str, Figure] = {}
    for rows in ROWS:
        right = {}
        for arm in ARMS:
            mine = [run for run in runs if run["settings"]["arm"] == arm and run["settings"]["rows"] == rows]
            select = {
                rate: float(
                    np.mean(
                        [run["result"]["select_accuracy"] for run in mine if run["settings"]["lr"] == rate]
                    )
                )
                for rate in RATES
            }
            best = max(RATES, key=lambda rate: select[rate])
            chosen = [run["result"]["report_right"] for run in mine if run["settings"]["lr"] == best]
            right[arm] = np.array([[character == "1" for character in text] for text in chosen])
            means = right[arm].mean(1)
            found[f"top1_{arm}_{rows}"] = Figure(
                float(means.mean()),
                "share",
                right[arm].shape[1],
                float(means.min()),
                float(means.max()),
                f"{arm}, {rows} student rows, lr {best:g} chosen on select, "
                f"mean and range of {len(means)} seeds, report split",
            )
        gain = bootstrap_difference(right["supervised"], right["kd"])
        found[f"kd_gain_{rows}"] = Figure(
            100 * gain.value,
            "points",
            gain.n,
            100 * gain.low,
            100 * gain.high,
            f"kd minus supervised, {rows} student rows, 3 seeds averaged, 95% bootstrap over samples",
        )
    return found
