"""The methods side by side on CIFAR-10, and what single ones of them are for.

The table: 20,000 images, a published ResNet-56 that teaches, ResNet-8 from a random start, 1,000 steps of
128. Every arm tries two rates with the first seed and takes the better one on select with the others; of the
report split (the 10,000 test images) only the chosen rate's answers are used. Features of a teacher are one
seed each, at KD's rate. An arm is ahead of KD, or behind, after Holm's correction over all of the table's
arms, with the noise of samples and of seeds (`benchmarks.paired`).

Beside it, with the rates of hard labels or KD, or .1: shares of the data; LELP where a class has kinds that
nobody names; classes that come later; teachers of groups of classes; questions to a teacher that errs. And
the real torchdistill's KD, timed in turn with ours and once trained to the end.
"""

from pathlib import Path
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run
from benchmarks.method_arms import ARMS, BATCH, FEATURES, LABELS, STEPS, TRAIN_ROWS, Arm, training_recipe
from benchmarks.method_data import write_all
from benchmarks.method_figures import of_parts, of_peer, of_table
from benchmarks.method_parts import PARTS, SUBSETS, calibration, part_recipe, score_incremental
from benchmarks.method_peer import PEERS, TIMED, WHOLE, run_peer

NAME = "methods"
COMMAND = "python -m benchmarks.run methods"
SEEDS, RATES = (0, 1, 2), (0.1, 0.2)
BLOCKS = (0, 1, 2)
COMPUTES = {"": (), **{name: ("benchmarks.method_peer", "compactor.trainer.fit") for name in PEERS}}
SETTINGS = {
    "recipe": "cifar10-kd",
    "train_rows": TRAIN_ROWS,
    "student": "cifar:resnet8 from scratch",
    "teacher": "cifar:resnet56, published weights (their author chose the checkpoint on the test images)",
    "labels": LABELS,
    "steps": STEPS,
    "batch": BATCH,
    "rates": list(RATES),
}
Settings = dict[str, Any]


def plan(runs: list[Run]) -> list[Settings]:
    """Rates with the first seed, then the other seeds at the best one, then what takes another arm's rate."""
    todo: list[Settings] = [_run(name, rate, SEEDS[0]) for name in ARMS for rate in RATES]
    for name in ARMS:
        if (rate := chosen_rate(runs, name)) is not None:
            todo += [_run(name, rate, seed) for seed in SEEDS[1:]]
    for name in SUBSETS:
        if (rate := chosen_rate(runs, name.partition("_")[0])) is not None:
            todo += [_run(name, rate, seed) for seed in SEEDS]
    if (rate := chosen_rate(runs, "kd")) is not None:
        todo += [_run(name, rate, SEEDS[0]) for name in FEATURES]
        todo += [{"arm": name, "lr": rate, "block": block} for block in BLOCKS for name in TIMED]
        todo += [{"arm": WHOLE, "lr": rate}]
    todo += [{"arm": name, "seed": seed} for name in PARTS for seed in SEEDS]
    return todo


def _run(name: str, rate: float, seed: int) -> Settings:
    return {"arm": name, "lr": rate, "seed": seed}


def chosen_rate(runs: list[Run], name: str) -> float | None:
    """The rate that is best on select with the first seed; None until all are tried."""
    tried = [run for run in _of(runs, name) if run["settings"]["seed"] == SEEDS[0]]
    return best_rate(tried) if len(tried) == len(RATES) else None


def arm(settings: Settings) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def _trained(name: str) -> Arm:
    return (ARMS | FEATURES | SUBSETS)[name]


def recipe(settings: Settings) -> Any:
    """Return the recipe that a run trains; None of another tool's."""
    name = settings["arm"]
    if name in PEERS:
        return None
    if name in PARTS:
        return part_recipe(name, settings["seed"])
    return training_recipe(_trained(name), settings["lr"], settings["seed"])


def prepare(settings: Settings) -> None:
    """Write the tables that a run reads and that are not there yet."""
    if settings["arm"] in PARTS:
        write_all()


def execute(settings: Settings) -> dict[str, Any]:
    """Train one student; keep what it gets right, how sure it was of it, and how long it took."""
    from compactor.tasks.image_classification import TASK

    name = settings["arm"]
    if name in PEERS:
        return run_peer(name, settings["lr"])
    trained = train(recipe(settings), NAME)
    if name == "incremental":
        return score_incremental(trained, TASK)
    return score(trained, TASK) | calibration(trained, TASK)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """The table, what single methods are for, and the peer."""
    right = {}
    for name in ARMS:
        if (rate := chosen_rate(runs, name)) is not None:
            right[name] = (rate, at_rate(_of(runs, name), rate))
    found = {
        f"top1_{name}": top1(answers, f"{ARMS[name].what}, lr {rate:g} chosen on select", name)
        for name, (rate, answers) in right.items()
    }
    for name, one in (FEATURES | SUBSETS).items():
        if mine := _of(runs, name):
            rate = mine[0]["settings"]["lr"]
            found[f"top1_{name}"] = top1(at_rate(mine, rate), f"{one.what}, lr {rate:g}", name)
    return found | of_table(runs, right) | of_parts(runs) | of_peer(runs)


def plot(runs: list[Run], folder: Path) -> None:
    """Draw the table: accuracy of every arm with the range of its seeds, and KD's as a band."""
    from benchmarks.plots import Level, accuracy_of_arms

    found = figures(runs)
    levels = {
        name: Level(one.what, top.value, top.low, top.high)
        for name, one in (ARMS | FEATURES).items()
        if (top := found.get(f"top1_{name}")) is not None
    }
    if "kd" in levels and len(levels) > 1:
        accuracy_of_arms(
            list(levels.values()),
            levels["kd"],
            folder / f"{NAME}.png",
            title=f"CIFAR-10, {TRAIN_ROWS:,} images, resnet8, {STEPS:,} steps each",
            about="report accuracy; mean and range of the seeds, 95% interval of one",
        )


def _of(runs: list[Run], name: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == name]
