"""Does distillation help on CIFAR-10? The shipped recipe `cifar10-kd` with and without its teacher.

Both arms get the same budget and the same tuning: three learning rates tried with the first seed, the best
one on select then trained with the other seeds. Of the report split (the 10,000 test images) only the chosen
rate's answers are used. The first seed's distilled student is exported and asked the same images.
"""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run

NAME = "cifar10_kd"
COMMAND = "make acceptance"
COMPUTES = {"kd": ("compactor.release.artifacts",)}
SEEDS, RATES, ARMS = (0, 1, 2), (0.05, 0.1, 0.2), ("supervised", "kd")
SETTINGS = {
    "recipe": "cifar10-kd",
    "student": "cifar:resnet8 from scratch",
    "teacher": "cifar:resnet56, published weights (their author chose the checkpoint on the test images)",
    "train_rows": 20_000,
    "epochs": 12,
    "batch": 128,
    "rates": list(RATES),
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """All rates with the first seed, then the best rate with the others."""
    todo = [{"arm": arm, "lr": rate, "seed": SEEDS[0]} for arm in ARMS for rate in RATES]
    for arm in ARMS:
        tried = [run for run in _of(runs, arm) if run["settings"]["seed"] == SEEDS[0]]
        if len(tried) == len(RATES):
            todo += [{"arm": arm, "lr": best_rate(tried), "seed": seed} for seed in SEEDS[1:]]
    return todo


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def recipe(settings: dict[str, Any]) -> Any:
    """Return the recipe as shipped, or with hard labels alone."""
    from compactor.recipe.load import load_recipe

    overrides = [f"seed={settings['seed']}", f"stages.0.lr={settings['lr']}"]
    if settings["arm"] == "supervised":
        overrides += ["stages.0.method=supervised", "stages.0.options={}"]
    return load_recipe("cifar10-kd", overrides)


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one student; keep what it gets right, and how its exported form agrees with it."""
    from compactor.tasks.image_classification import TASK

    trained = train(recipe(settings), NAME)
    result = score(trained, TASK)
    if settings["arm"] == "kd" and settings["seed"] == SEEDS[0]:
        result["onnx_same"] = onnx_agreement(trained.student, trained.data, TASK)
    return result


def onnx_agreement(student: Any, data: Any, task: Any) -> int:
    """Of how many report samples the exported graph's top class is the torch student's."""
    from compactor.evaluation import artifact_answers, same_answers, student_answers
    from compactor.release.artifacts import export_source
    from compactor_exporters import Workspace, export_artifact
    from compactor_runtimes.backends import open_files
    from compactor_runtimes.bundle.manifest import ExportSpec

    with tempfile.TemporaryDirectory() as scratch:
        source = export_source(student, NAME, data.task)
        artifact = export_artifact(source, ExportSpec(), Workspace(Path(scratch)))
        with closing(open_files(artifact, Path(scratch).joinpath)) as runtime:
            found = artifact_answers(runtime, student.outputs, task.batches(data.report))
    return int(same_answers(task, student_answers(student, task.batches(data.report)), found).sum())


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of each arm at its own best rate, the paired gain, and the exported student's agreement."""
    from compactor_runtimes.stats.metrics import wilson

    right, rates = {}, {}
    for arm in ARMS:
        mine = _of(runs, arm)
        rates[arm] = best_rate([run for run in mine if run["settings"]["seed"] == SEEDS[0]])
        right[arm] = at_rate(mine, rates[arm])
    found = {
        f"top1_{arm}": top1(right[arm], f"{arm}, resnet8, lr {rates[arm]:g} chosen on select", arm)
        for arm in ARMS
    }
    found["kd_gain"] = gain(right["supervised"], right["kd"], "kd from resnet56 minus supervised", *ARMS)
    exported = next(
        run
        for run in _of(runs, "kd")
        if "onnx_same" in run["result"] and run["settings"]["lr"] == rates["kd"]
    )
    same, n = exported["result"]["onnx_same"], right["kd"].shape[1]
    low, high = wilson(same, n)
    found["onnx_agreement"] = Figure(
        same / n,
        "share",
        n,
        low,
        high,
        "ONNX fp32 and torch, distilled student of seed 0: same top class",
        arms=("kd",),
    )
    return found


def _of(runs: list[Run], arm: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == arm]
