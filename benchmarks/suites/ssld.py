"""Does SSLD help, and which part of it? The shipped recipe `cifar10-ssld`, one thing changed in each arm.

CIFAR-10 with 5,000 labelled images and 40,000 without labels. The teacher of all arms (ResNet-20) is trained
here on the 5,000 alone, so that the pool's labels are unknown to it; the published ResNet-56, which has seen
them, teaches one further arm. All students (ResNet-8) take 1,000 steps of 128. Hard labels, KD and SSLD with
the whole pool try three rates with the first seed; the other arms of SSLD take its rate. Of the report split
(the 10,000 test images) only the chosen rates' answers are used.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run
from benchmarks.ssld_arms import (
    BATCH,
    LABELLED,
    PLAIN,
    POOL,
    SSLD,
    STEPS,
    TUNE_STEPS,
    WHAT,
    training_recipe,
    write_pollution,
)

NAME = "ssld"
COMMAND = "make acceptance"
WATCHED = "distil"
SEEDS, RATES = (0, 1, 2), (0.05, 0.1, 0.2)
TUNED = (*PLAIN, "ssld_40k")
SETTINGS = {
    "recipe": "cifar10-ssld",
    "labelled": LABELLED,
    "pool": POOL,
    "student": "cifar:resnet8 from scratch",
    "teacher": "cifar:resnet20, trained on the labelled images alone",
    "steps": STEPS,
    "steps_of_stage_2": TUNE_STEPS,
    "batch": BATCH,
    "rates": list(RATES),
}
# figure -> (before, after)
GAINS = {
    "gain_of_pool": ("ssld_0", "ssld_40k"),
    "gain_40k_over_10k": ("ssld_10k", "ssld_40k"),
    "gain_sym_over_soft": ("ssld_soft_ce", "ssld_40k"),
    "gain_stage2": ("ssld_no_stage2", "ssld_40k"),
    "gain_bn_batch": ("ssld_bn_eval", "ssld_40k"),
    "gain_over_hard": ("hard", "ssld_40k"),
    "gain_over_kd": ("kd_labelled", "ssld_40k"),
    "gain_of_published_teacher": ("ssld_40k", "ssld_published"),
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Rates with the first seed, then the other seeds at the best one, then what is changed in SSLD."""
    todo = [_run(arm, rate, SEEDS[0]) for arm in TUNED for rate in RATES]
    for arm in TUNED:
        if (rate := _rate(runs, arm)) is not None:
            todo += [_run(arm, rate, seed) for seed in SEEDS[1:]]
    if (rate := _rate(runs, "ssld_40k")) is not None:
        todo += [_run(arm, rate, seed) for seed in SEEDS for arm in SSLD if arm != "ssld_40k"]
    return todo


def _run(arm: str, rate: float, seed: int) -> dict[str, Any]:
    return {"arm": arm, "lr": rate, "seed": seed}


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def recipe(settings: dict[str, Any]) -> Any:
    """Return the recipe that a run trains."""
    return training_recipe(settings["arm"], settings["lr"], settings["seed"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one student and keep its curve and what it gets right."""
    from compactor.tasks.image_classification import TASK

    write_pollution()
    return score(train(recipe(settings), NAME, watched=WATCHED), TASK)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of each arm, and paired gains between them."""
    right, rates = {}, {}
    for name in (*PLAIN, *SSLD):
        rate = _rate(runs, name if name in TUNED else "ssld_40k")
        if rate is not None and any(run["settings"]["arm"] == name for run in runs):
            rates[name], right[name] = rate, at_rate(_of(runs, name), rate)
    found = {
        f"top1_{name}": top1(right[name], f"{WHAT[name]}, resnet8, lr {rates[name]:g} chosen on select", name)
        for name in right
    }
    for name, (before, after) in GAINS.items():
        if {before, after} <= right.keys():
            about = f"{WHAT[after]} minus {WHAT[before]}"
            found[name] = gain(right[before], right[after], about, before, after)
    if {"ssld_polluted", "ssld_40k"} <= right.keys():
        lost = gain(right["ssld_polluted"], right["ssld_40k"], "", "ssld_polluted", "ssld_40k")
        about = "upper 95% bound of what is lost where half of the pool is Fashion-MNIST"
        found["pollution_loss_high"] = replace(
            lost, value=lost.high, about=f"{about} ({lost.value:+.2f} points seen)", goal="<= 1.0"
        )
    return found


def plot(runs: list[Run], folder: Path) -> None:
    """Draw accuracy against the size of the pool, the arms without one as lines."""
    from benchmarks.plots import Level, accuracy_over_pool

    found = figures(runs)
    sizes = {"ssld_0": 0, "ssld_10k": POOL // 4, "ssld_40k": POOL, "ssld_polluted": POOL}
    if not {f"top1_{name}" for name in (*PLAIN, *sizes)} <= found.keys():
        return

    def level(name: str, size: int | None = None) -> Level:
        one = found[f"top1_{name}"]
        return Level(WHAT[name], one.value, one.low, one.high, size)

    accuracy_over_pool(
        [level(name, size) for name, size in sizes.items()],
        [level(name) for name in PLAIN],
        folder / f"{NAME}.png",
        title=f"CIFAR-10, {LABELLED:,} labelled images, resnet8, {STEPS:,} steps each",
        about=f"report accuracy; mean and range of {len(SEEDS)} seeds",
    )


def _rate(runs: list[Run], name: str) -> float | None:
    """The rate that an arm tried best with the first seed; None until it has tried all."""
    tried = [run for run in _of(runs, name) if run["settings"]["seed"] == SEEDS[0]]
    return best_rate(tried) if len(tried) == len(RATES) else None


def _of(runs: list[Run], name: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == name]
