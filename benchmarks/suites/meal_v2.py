"""Does an ensemble teach a small student more than labels do? The shipped recipe `cifar10-meal-v2`, by parts.

A ResNet-8 is trained with hard labels; from there, hard labels go on, or one teacher, two, or two with the
discriminator take over, and once more two with it teach a student that starts from random weights: equal
steps, crops and batches. Each arm tries three learning rates with the first seed; the best on select is
trained with the others. Of the report split (the 10,000 test images) only the chosen rates' answers are used.
Labels of 10 crops an image are stored once for each set of teachers.

Beside it: the time of a step with live teachers against its floor, and a smoke run of `imagenet-meal-v2`
with random weights in the place of the published ones.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import ROOT, worker_result

NAME = "meal_v2"
COMMAND = "make acceptance"
SHARED = ("pretrain",)
COMPUTES = {
    "step": ("benchmarks.meal_v2_worker", "benchmarks.foundation_worker", "benchmarks.peers.bare_loop"),
    "imagenet_smoke": ("compactor.run.pipeline", "compactor.methods.meal_v2", "compactor.models.timm_models"),
}
TIMED = ("step",)
SEEDS, RATES = (0, 1, 2), (0.01, 0.03, 0.1)
BASE = {"recipe": "cifar10-meal-v2", "limit": {"train": 20_000}, "crops": 10, "epochs": 10, "batch": 128}
SETTINGS = {
    **BASE,
    "student": "cifar:resnet8, 20 epochs of hard labels",
    "teachers": "cifar:resnet56 and resnet44, published weights (chosen by their author on the test images)",
    "crop": "random-resized, scale 0.5 to 1, flip; the same for both stages and all arms",
    "labels": "full, float16; the discriminator sees probabilities",
    "schedule": "step: rate x 0.1 at epoch 6, no weight decay",
    "rates": list(RATES),
}
WEIGHTS = "teachers/cifar10_akamaster/{}.safetensors"
ONE = [{"model": "cifar:resnet56", "weights": WEIGHTS.format("resnet56")}]
# arm -> overrides of the recipe
ARMS: dict[str, list[str]] = {
    "hard": ["stages.1.method=supervised", "stages.1.options={}", "stages.1.labels=null"],
    "one_teacher": [f"teachers={ONE}", "stages.1.options={discriminator: null}"],
    "no_discriminator": ["stages.1.options={discriminator: null}"],
    "meal_v2": [],
    "scratch": ["stages.1.init=null"],
}
WHAT = {
    "init": "hard labels, the start of the others",
    "hard": "hard labels go on",
    "one_teacher": "one teacher (resnet56)",
    "no_discriminator": "two teachers",
    "meal_v2": "two teachers and discriminator",
    "scratch": "the same from random weights",
}
STEP_SUBJECTS, BLOCKS = ("live_step", "student_step", "resnet56", "resnet44"), 5


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Timings; all rates with the first seed; the best with the others; the students they start from."""
    todo: list[dict[str, Any]] = []
    for block in range(BLOCKS):
        order = STEP_SUBJECTS if block % 2 == 0 else STEP_SUBJECTS[::-1]
        todo += [{"part": "step", "subject": subject, "block": block} for subject in order]
    todo += [_run("init", None, seed) for seed in SEEDS]
    todo += [_run(arm, rate, SEEDS[0]) for arm in ARMS for rate in RATES]
    for arm in ARMS:
        if (rate := _rate(runs, arm)) is not None:
            todo += [_run(arm, rate, seed) for seed in SEEDS[1:]]
    return [*todo, {"part": "imagenet_smoke"}]


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run, or the part that trains none."""
    return str(settings.get("arm", settings["part"]))


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Time a step, start the big recipe, or train one student and keep its curve and what it gets right."""
    if settings["part"] == "step":
        return worker_result("benchmarks.meal_v2_worker", settings["subject"])
    if settings["part"] == "imagenet_smoke":
        return _imagenet_smoke()
    from compactor.tasks.image_classification import TASK

    return score(train(recipe(settings), NAME, shared=SHARED), TASK)


def recipe(settings: dict[str, Any]) -> Any:
    """Return the shipped recipe as an arm changes it; None where nothing is trained."""
    if settings["part"] != "train":
        return None
    import msgspec

    from compactor.recipe.load import load_recipe

    overrides = [
        f"data.limit={settings['limit']}",
        f"stages.1.epochs={settings['epochs']}",
        f"stages.1.batch_size={settings['batch']}",
        f"stages.1.labels.crops={settings['crops']}",
        f"seed={settings['seed']}",
        *ARMS.get(settings["arm"], []),
    ]
    if settings["lr"] is not None:
        overrides.append(f"stages.1.lr={settings['lr']}")
    loaded = load_recipe(settings["recipe"], overrides)
    if settings["arm"] in ("init", "scratch"):
        [pretrain, distil] = loaded.recipe.stages
        kept = [pretrain if settings["arm"] == "init" else distil]
        loaded = msgspec.structs.replace(loaded, recipe=msgspec.structs.replace(loaded.recipe, stages=kept))
    return loaded


def _imagenet_smoke() -> dict[str, Any]:
    """Run the shipped recipe's smoke run, the teachers' and student's weights replaced by random ones."""
    import timm
    import torch
    from safetensors.torch import save_model

    from compactor.recipe.load import load_recipe

    recipe = load_recipe("imagenet-meal-v2").recipe
    assert recipe.student is not None
    models = [one for one in [*recipe.teachers, recipe.student] if not isinstance(one, str)]
    with tempfile.TemporaryDirectory() as scratch:
        words = []
        for number, one in enumerate(models):
            path = Path(scratch) / f"{number}.safetensors"
            torch.manual_seed(number)
            save_model(timm.create_model(one.model.removeprefix("timm:").partition(".")[0]), str(path))
            key = "student" if one is recipe.student else f"teachers.{number}"
            words += ["--set", f"{key}.weights={path}"]
        command = [sys.executable, "-m", "compactor", "run", recipe.name, "--smoke", *words]
        # random logits nearly tie, so that int8 and fp32 would often disagree on the largest
        command += [
            "--set",
            "export=[{precision: fp32, required: true}]",
            "--runs",
            str(Path(scratch) / "runs"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {"exit_code": done.returncode, "models": [one.model for one in models], "said": done.stdout[-300:]}


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of each arm at its own best rate, gains on the same images, the step's time over its floor."""
    arms = _arms(runs)
    right = {arm: at_rate(mine, mine[0]["settings"]["lr"]) for arm, mine in arms.items()}
    found = {}
    for arm, mine in arms.items():
        rate = "" if arm == "init" else f", lr {mine[0]['settings']['lr']:g} chosen on select"
        found[f"top1_{arm}"] = top1(right[arm], f"{WHAT[arm]}, resnet8{rate}", arm)
    for name, before, after in (
        ("gain_over_hard", "hard", "meal_v2"),
        ("gain_over_init", "init", "meal_v2"),
        ("gain_of_second_teacher", "one_teacher", "no_discriminator"),
        ("gain_of_discriminator", "no_discriminator", "meal_v2"),
        ("gain_of_start", "scratch", "meal_v2"),
    ):
        about = f"{WHAT[after]} minus {WHAT[before]}"
        found[name] = gain(right[before], right[after], about, before, after)
    found["step_ratio"] = _step_ratio(runs)
    [smoke] = [run["result"] for run in runs if run["settings"]["part"] == "imagenet_smoke"]
    started = float(smoke["exit_code"] == 0)
    about = f"smoke run of imagenet-meal-v2 to a bundle, random weights: {', '.join(smoke['models'])}"
    passes = Figure(started, "of 1", 1, started, started, about, ">= 1", ("imagenet_smoke",))
    return found | {"imagenet_smoke_passes": passes}


def _step_ratio(runs: list[Run]) -> Figure:
    times = {
        (run["settings"]["subject"], run["settings"]["block"]): median(run["result"]["step_s"])
        for run in runs
        if run["settings"]["part"] == "step"
    }
    live, *parts = STEP_SUBJECTS
    blocks = sorted({block for _, block in times})
    ratios = [times[live, block] / sum(times[part, block] for part in parts) for block in blocks]
    about = (
        "step of meal_v2 with two live teachers and discriminator, augmentation included, over a "
        "hand-written loop's step and the two teachers' forwards measured alone; resnet8, batch 128"
    )
    return spread(ratios, "", about, "<= 1.05", ("step",))


def plot(runs: list[Run], folder: Path) -> None:
    """Draw select accuracy over training time for the arms as chosen."""
    from benchmarks.plots import arms_over_time

    arms = {arm: mine for arm, mine in _arms(runs).items() if arm != "init"}
    arms_over_time(arms, WHAT, folder / f"{NAME}.png")


def _run(arm: str, rate: float | None, seed: int) -> dict[str, Any]:
    return {"part": "train", **BASE, "arm": arm, "lr": rate, "seed": seed}


def _of(runs: list[Run], arm: str) -> list[Run]:
    return [run for run in runs if run["settings"].get("arm") == arm]


def _rate(runs: list[Run], arm: str) -> float | None:
    """The arm's best rate on select with the first seed, once all were tried."""
    tried = [run for run in _of(runs, arm) if run["settings"]["seed"] == SEEDS[0]]
    return best_rate(tried) if len(tried) == len(RATES) else None


def _arms(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each arm at its rate, in the order of the seeds."""
    found = {}
    for arm in ("init", *ARMS):
        rate = None if arm == "init" else _rate(runs, arm)
        mine = [run for run in _of(runs, arm) if run["settings"]["lr"] == rate]
        found[arm] = sorted(mine, key=lambda run: int(run["settings"]["seed"]))
    return found
