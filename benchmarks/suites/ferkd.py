"""What do stored labels and their calibration cost or bring in accuracy? The shipped recipe `cifar10-fkd`.

Arms with equal steps, crops and students: hard labels, a live teacher with the loss of FKD, FKD from the
store with four crops of an image a step and with one (a step then sees as many images as on-line
distillation does), FerKD from the same store. All but FerKD try three learning rates with the first seed, and
the best on select is trained with the others; FerKD takes FKD's rate and tries three sets of thresholds
instead. The parts of FerKD and other numbers of crops an image are one seed each, judged on select alone. Of
the report split (the 10,000 test images) only the chosen settings' answers are used.
"""

from pathlib import Path
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import CACHE, score, train
from benchmarks.figures import Figure, Run, spread

NAME = "ferkd"
COMMAND = "make acceptance"
COMPUTES = {"labels": ("compactor.label_store.make",)}
SEEDS, RATES = (0, 1, 2), (0.05, 0.1, 0.2)
BASE = {"recipe": "cifar10-fkd", "limit": {"train": 10_000}, "crops": 16, "epochs": 16, "batch": 80}
SETTINGS = {
    **BASE,
    "student": "cifar:resnet8 from scratch",
    "teacher": "cifar:resnet56, published weights (its author chose the checkpoint on the test images)",
    "crop": "random-resized, scale 0.25 to 1, flip; the same for all arms",
    "labels": "marginal smoothing, k 5, float16",
    "rates": list(RATES),
}

# method and its options; labels are taken from the store where the method is fkd or ferkd
TUNED: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised": ("supervised", {}),
    "online_kd": ("kd", {"divergence": "soft_ce", "temperature": 1.0, "soft_weight": 1.0}),
    "fkd_n4": ("fkd", {"crops_per_image": 4}),
    "fkd_n1": ("fkd", {"crops_per_image": 1}),
}
THRESHOLDS: dict[str, dict[str, float]] = {
    "ferkd_wide": {"low": 0.05, "mid": 0.2},
    "ferkd_narrow": {"low": 0.02, "mid": 0.1},
    "ferkd_top": {"low": 0.05, "mid": 0.2, "top": 0.95},
}
FERKD = {
    name: ("ferkd", {"crops_per_image": 4, "thresholds": limits, "mixing": "self"})
    for name, limits in THRESHOLDS.items()
}
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: ("ferkd", {"crops_per_image": 4, "thresholds": limits, "mixing": "none"})
        for name, limits in {
            "drop_easy": {"top": 0.95},
            "drop_hard": {"low": 0.1},
            "relabel": {"mid": 0.2},
        }.items()
    },
    "selfmix": ("fkd", {"crops_per_image": 4, "mixing": "self"}),
    "batch_mixing": ("fkd", {"crops_per_image": 4, "mixing": "batch"}),
    **{f"fkd_n{views}": ("fkd", {"crops_per_image": views}) for views in (2, 8)},
}
ARMS = TUNED | FERKD | PARTS
WHAT = {
    "supervised": "hard labels",
    "online_kd": "live teacher, the same loss",
    "fkd_n4": "FKD, 4 crops an image",
    "ferkd": "FerKD",
    "drop_easy": "FKD without the 5% of crops that the teacher is surest of",
    "drop_hard": "FKD without the 10% of crops that it is least sure of",
    "relabel": "FKD with softened ground truth on the 20% of crops that it is least sure of",
    "selfmix": "FKD with crops of an image mixed",
    "batch_mixing": "FKD with crops of the batch mixed",
    "fkd_n1": "FKD, 1 crop an image",
    "fkd_n2": "FKD, 2 crops an image",
    "fkd_n8": "FKD, 8 crops an image (in the first half: the last n epochs take one each)",
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Label; tune with the first seed; then the other seeds of what was chosen, and the parts."""
    todo = [{**BASE, "arm": "labels"}]
    todo += [_run(arm, rate, SEEDS[0]) for arm in TUNED for rate in RATES]
    rates = {arm: _rate(runs, arm) for arm in TUNED}
    for arm, rate in rates.items():
        todo += [_run(arm, rate, seed) for seed in SEEDS[1:] if rate is not None]
    if (rate := rates["fkd_n4"]) is not None:
        todo += [_run(arm, rate, SEEDS[0]) for arm in FERKD]
        if chosen := _chosen(runs):
            todo += [_run(chosen, rate, seed) for seed in SEEDS[1:]]
        todo += [_run(arm, rate, SEEDS[0]) for arm in PARTS]
    return todo


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def recipe(settings: dict[str, Any]) -> Any:
    """Return the shipped recipe with the method of an arm; None where labels are only made."""
    return None if settings["arm"] == "labels" else _recipe(settings)


def _recipe(settings: dict[str, Any]) -> Any:
    from compactor.recipe.load import load_recipe

    is_labels = settings["arm"] == "labels"
    method, options = ARMS["fkd_n4" if is_labels else settings["arm"]]
    overrides = [
        f"data.limit={settings['limit']}",
        f"stages.0.epochs={settings['epochs']}",
        f"stages.0.batch_size={settings['batch']}",
        f"stages.0.labels.crops={settings['crops']}",
        f"stages.0.method={method}",
        f"stages.0.options={options}",
    ]
    if not is_labels:
        overrides += [f"seed={settings['seed']}", f"stages.0.lr={settings['lr']}"]
    if method in ("supervised", "kd"):
        overrides.append("stages.0.labels=null")
    return load_recipe(settings["recipe"], overrides)


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Make the labels, or train one student and keep its curve and what it gets right."""
    from compactor.run.label import label_recipe
    from compactor.tasks.image_classification import TASK

    if settings["arm"] == "labels":
        [made] = label_recipe(_recipe(settings), runs=CACHE / NAME)
        return {"records": made.records, "size_bytes": made.size_bytes}
    trained = train(recipe(settings), NAME)
    result = score(trained, TASK)
    if "calibration" in trained.targets:
        calibration = trained.targets["calibration"]
        result["calibration"] = {name: value for name, value in calibration.items() if name != "by_class"}
    return result


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of the arms as chosen, gains, training time, the parts on select, shares of the bins."""
    arms = _arms(runs)
    right = {arm: at_rate(mine, mine[0]["settings"]["lr"]) for arm, mine in arms.items()}
    found = {}
    for arm, mine in arms.items():
        tried = f"lr {mine[0]['settings']['lr']:g}"
        tried += f", {mine[0]['settings']['arm']}" if arm == "ferkd" else ""
        about = f"{WHAT[arm]}, resnet8, {tried} chosen on select"
        found[f"top1_{arm}"] = top1(right[arm], about, *_rests_on(arms, arm))
    for name, before, after, about in (
        ("fkd_gain", "supervised", "fkd_n4", "FKD minus hard labels"),
        ("fkd_vs_online", "online_kd", "fkd_n4", "FKD minus live teacher"),
        ("ferkd_gain", "fkd_n4", "ferkd", "FerKD minus FKD"),
        ("fkd_n1_minus_supervised", "supervised", "fkd_n1", "FKD with 1 crop an image minus hard labels"),
        ("fkd_n1_minus_online_kd", "online_kd", "fkd_n1", "FKD with 1 crop an image minus a live teacher"),
        ("fkd_n1_minus_fkd_n4", "fkd_n4", "fkd_n1", "FKD with 1 crop an image minus 4 crops"),
    ):
        found[name] = gain(right[before], right[after], about, *_rests_on(arms, before, after))
    for arm, mine in arms.items():
        seconds = [run["result"]["train_s"] for run in mine]
        about = f"{WHAT[arm]}, {_steps(mine[0])} steps"
        found[f"train_s_{arm}"] = spread(seconds, "s", about, arms=_rests_on(arms, arm))
    found |= _on_select(runs, arms)
    return found | _bins(arms["ferkd"][0])


def _on_select(runs: list[Run], arms: dict[str, list[Run]]) -> dict[str, Figure]:
    from compactor_runtimes.stats.metrics import wilson

    rate = arms["fkd_n4"][0]["settings"]["lr"]
    firsts = {"fkd_n4": arms["fkd_n4"][0], "ferkd": arms["ferkd"][0]}
    firsts |= {
        arm: run
        for arm in ("fkd_n1", *PARTS)
        for run in _of(runs, arm)
        if run["settings"]["lr"] == rate and run["settings"]["seed"] == SEEDS[0]
    }
    found = {}
    for arm, run in firsts.items():
        share, n = run["result"]["select_accuracy"], run["result"]["select_rows"]
        low, high = wilson(round(share * n), n)
        about = f"{WHAT[arm]}: select split, one seed, lr {rate:g}"
        found[f"select_{arm}"] = Figure(share, "share", n, low, high, about, arms=(run["settings"]["arm"],))
    return found


def _bins(run: Run) -> dict[str, Figure]:
    from compactor_runtimes.stats.metrics import wilson

    calibration = run["result"]["calibration"]
    views, found = calibration["views"], {}
    for name, share in calibration["shares"].items():
        low, high = wilson(round(share * views), views)
        about = f"recorded crops in bin {name}, {run['settings']['arm']}"
        found[f"bins_{name.replace('-', '_')}"] = Figure(
            share, "share", views, low, high, about, arms=(run["settings"]["arm"],)
        )
    return found


def plot(runs: list[Run], folder: Path) -> None:
    """Draw select accuracy over training time for the arms as chosen."""
    from benchmarks.plots import arms_over_time

    arms_over_time(_arms(runs), WHAT, folder / f"{NAME}.png")


def _run(arm: str, rate: float, seed: int) -> dict[str, Any]:
    return {**BASE, "arm": arm, "lr": rate, "seed": seed}


def _rests_on(arms: dict[str, list[Run]], *names: str) -> tuple[str, ...]:
    """The arms of runs that a figure is computed from."""
    return tuple(str(arms[name][0]["settings"]["arm"]) for name in names)


def _of(runs: list[Run], arm: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == arm]


def _steps(run: Run) -> int:
    return int(run["result"]["steps"])


def _first_seed(runs: list[Run], arm: str) -> list[Run]:
    return [run for run in _of(runs, arm) if run["settings"]["seed"] == SEEDS[0]]


def _rate(runs: list[Run], arm: str) -> float | None:
    """The arm's best rate on select, once all were tried."""
    tried = _first_seed(runs, arm)
    return best_rate(tried) if len(tried) == len(RATES) else None


def _chosen(runs: list[Run]) -> str | None:
    """The thresholds that are best on select with the first seed, once all were tried."""
    tried = {arm: _first_seed(runs, arm) for arm in FERKD}
    if not all(tried.values()):
        return None
    return max(tried, key=lambda arm: float(tried[arm][0]["result"]["select_accuracy"]))


def _arms(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each arm as it was chosen, in the order of the seeds."""
    chosen = _chosen(runs)
    assert chosen is not None
    found = {}
    for arm, of in {**{arm: arm for arm in TUNED}, "ferkd": chosen}.items():
        rate = _rate(runs, of) if arm in TUNED else found["fkd_n4"][0]["settings"]["lr"]
        mine = [run for run in _of(runs, of) if run["settings"]["lr"] == rate]
        found[arm] = sorted(mine, key=lambda run: int(run["settings"]["seed"]))
    return found
