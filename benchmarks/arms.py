"""What suites that compare training arms share: train a recipe's stages, score a student, choose a rate."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results_file import Figure, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor.data.splits import Dataset
    from compactor.models.student import Student
    from compactor.recipe.load import LoadedRecipe

CACHE = Path(__file__).parent / ".cache"
# what trains and scores an arm, to which a suite adds its methods
TRAINING = (
    "compactor.trainer.fit",
    "compactor.run.stages",
    "compactor.methods.supervised",
    "compactor.models.cifar",
    "compactor.tasks.image_classification",
    "compactor.data.named",
)


@dataclass(frozen=True)
class Trained:
    """The last stage's student, its data, and what was kept while it trained.

    `seconds` is training time without evaluation, `history` has a record an evaluation (`step`,
    `select_accuracy`, ...), `targets` what the method says of its targets (`calibration` of ferkd).
    """

    student: "Student"
    data: "Dataset"
    steps: int
    seconds: float
    history: list[dict[str, Any]]
    targets: dict[str, Any]


def train(loaded: "LoadedRecipe", name: str, *, shared: str = "teacher") -> "tuple[Student, Dataset]":
    """Train as `train_recorded` does; return the student and its data alone."""
    trained = train_recorded(loaded, name, shared=shared)
    return trained.student, trained.data


def train_recorded(loaded: "LoadedRecipe", name: str, *, shared: str = "teacher") -> Trained:
    """Train a recipe's stages; those whose id starts with `shared` are kept for the suite's other runs.

    So are label stores, which lie in the suite's cache under a key of their own contents.
    """
    from compactor.cache.folder import DONE
    from compactor.cache.journal import Journal
    from compactor.models.build import load_model_folder
    from compactor.progress import SilentReporter
    from compactor.run.plan import make_plan
    from compactor.run.stages import TARGETS, StageRunner

    cache = CACHE / name
    plan = make_plan(loaded, cache)
    with tempfile.TemporaryDirectory() as scratch:
        runner = StageRunner(plan, SilentReporter(), Journal(None))
        for stage in plan.stages:
            place = cache if stage.id.startswith(shared) else Path(scratch)
            folder = runner.run(replace(stage, folder=place / f"{stage.id}-{stage.digest[:12]}"))
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        targets = folder / TARGETS
        return Trained(
            load_model_folder(runner.done[plan.stages[-1].id]),
            plan.stages[-1].data,
            done["steps"],
            done["seconds"],
            done["history"],
            json.loads(targets.read_text(encoding="utf-8")) if targets.is_file() else {},
        )


def score(student: "Student", data: "Dataset", task: Any) -> dict[str, Any]:
    """Accuracy on select, and which report samples are answered rightly (a string of 0 and 1)."""
    from compactor.evaluation import split_labels, student_answers
    from compactor_runtimes.stats.metrics import correct

    right = [
        correct(student_answers(student, task.batches(split))[task.head.name], split_labels(task, split))
        for split in (data.select, data.report)
    ]
    return {
        "select_accuracy": float(right[0].mean()),
        "report_right": "".join(str(int(value)) for value in right[1]),
    }


def score_recorded(trained: Trained, task: Any) -> dict[str, Any]:
    """What `score` says of the student, and how long and along which curve it was trained."""
    return score(trained.student, trained.data, task) | {
        "select_rows": len(trained.data.select),
        "steps": trained.steps,
        "train_s": round(trained.seconds, 3),
        "curve": [[record["step"], record["select_accuracy"]] for record in trained.history],
    }


def best_rate(runs: list[Run]) -> float:
    """The learning rate with the highest select accuracy, averaged over the seeds that tried it."""
    found: dict[float, list[float]] = {}
    for run in runs:
        found.setdefault(run["settings"]["lr"], []).append(run["result"]["select_accuracy"])
    return max(sorted(found), key=lambda rate: sum(found[rate]) / len(found[rate]))


def at_rate(runs: list[Run], rate: float) -> "NDArray[np.bool_]":
    """Correctness on the report samples of all runs with a rate: bool [seeds, N]."""
    import numpy as np

    chosen = [run["result"]["report_right"] for run in runs if run["settings"]["lr"] == rate]
    return np.array([[character == "1" for character in text] for text in chosen])


def top1(right: "NDArray[np.bool_]", about: str) -> Figure:
    """Mean accuracy over seeds, with their range."""
    means = right.mean(1)
    return Figure(
        float(means.mean()),
        "share",
        right.shape[1],
        float(means.min()),
        float(means.max()),
        f"{about}, mean and range of {len(means)} seeds, report split",
    )


def gain(before: "NDArray[np.bool_]", after: "NDArray[np.bool_]", about: str) -> Figure:
    """Points gained, seed-averaged, with a 95% bootstrap interval over the samples."""
    from compactor_runtimes.stats.metrics import bootstrap_difference

    found = bootstrap_difference(before, after)
    return Figure(
        100 * found.value,
        "points",
        found.n,
        100 * found.low,
        100 * found.high,
        f"{about}, {len(before)} seeds averaged, 95% bootstrap over samples",
    )
