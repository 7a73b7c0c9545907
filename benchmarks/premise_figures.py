"""Figures of suite `ferkd_premise`, computed from its runs."""

from typing import TYPE_CHECKING, Any

from benchmarks.arm_figures import gain, right_rows, top1
from benchmarks.figures import Figure, Run, spread
from benchmarks.premise_arms import ARMS, BY, SIZES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# figure -> (before, after)
GAINS = {
    "fkd_gain": ("hard", "fkd_n1"),
    "fkd_n4_gain": ("hard", "fkd_n4"),
    "fkd_vs_live": ("live", "fkd_n1"),
    "ferkd_gain": ("fkd_n4", "ferkd"),
    "ferkd_gain_over_n1": ("fkd_n1", "ferkd"),
    "cross_fit_gain_kd": ("kd_memorised", "kd_cross_fitted"),
    "cross_fit_gain_fkd_n4": ("fkd_n4_memorised", "fkd_n4_cross_fitted"),
    "cross_fit_gain_ferkd": ("ferkd_memorised", "ferkd_cross_fitted"),
    "fkd_n4_minus_kd_memorised": ("kd_memorised", "fkd_n4_memorised"),
    "fkd_n4_minus_kd_cross_fitted": ("kd_cross_fitted", "fkd_n4_cross_fitted"),
    "ferkd_gain_memorised": ("fkd_n4_memorised", "ferkd_memorised"),
    "ferkd_gain_cross_fitted": ("fkd_n4_cross_fitted", "ferkd_cross_fitted"),
}


def all_figures(chosen: dict[str, list[Run]], stores: dict[str, Run]) -> dict[str, Figure]:
    """Accuracy and seconds of the arms, gains, what the stores say, epochs.

    Args:
        chosen: the runs of each arm at its family's rate, in the order of the seeds.
        stores: the run that made each store, by the name of its arm.
    """
    found: dict[str, Figure] = {}
    right = {
        name: right_rows([run["result"]["report_right"] for run in mine]) for name, mine in chosen.items()
    }
    for name, mine in chosen.items():
        about = f"{ARMS[name].what}, lr {mine[0]['settings']['lr']:g} of the family, chosen on select"
        found[f"top1_{name}"] = top1(right[name], about, name)
        found[f"seconds_{name}"] = spread(
            [run["result"]["train_s"] for run in mine],
            "s",
            f"{ARMS[name].what}: training of {mine[0]['result']['steps']:,} steps without evaluation",
            arms=(name,),
        )
    for figure, (before, after) in GAINS.items():
        if {before, after} <= right.keys():
            found[figure] = _gain(right, before, after)
    for name, run in stores.items():
        found |= _of_store(name, run["result"])
    for data, prefix in (("imagenette96", ""), ("cifar10", "cifar_")):
        count = SIZES[data]["epochs"]
        found[f"{prefix}epochs"] = Figure(
            count,
            "",
            1,
            count,
            count,
            f"epochs of every student of {data}; a recorded crop counts as one image",
        )
    return found


def _gain(right: "dict[str, NDArray[np.bool_]]", before: str, after: str) -> Figure:
    common = min(len(right[before]), len(right[after]))
    about = f"{ARMS[after].what}, minus {ARMS[before].what}"
    return gain(right[before][:common], right[after][:common], about, before, after)


def _of_store(name: str, said: dict[str, Any]) -> dict[str, Figure]:
    """How sure a store's teachers are, and by how much better on images that taught them."""
    from compactor_runtimes.stats.metrics import wilson

    suffix = name.removeprefix("labels")
    by = BY.get(suffix.removeprefix("_"), "EfficientNet-Lite0, not trained on these crops")
    train, select = said["accuracy"]["train"], said["accuracy"]["select"]
    low, high = wilson(round(select["value"] * select["n"]), select["n"])
    gap = Figure(
        100 * said["memorisation_gap"],
        "points",
        select["n"],
        100 * (train["value"] - high),
        100 * (train["value"] - low),
        f"{by}: top-1 on the crops of train minus top-1 on select images, 95% of the latter",
        arms=(name,),
    )
    full = said["full_confidence"]
    low, high = wilson(round(full * train["n"]), train["n"])
    about = f"{by}: share of the recorded crops above 0.999"
    sure = Figure(full, "share", train["n"], low, high, about, arms=(name,))
    return {f"memorisation_gap{suffix}": gap, f"full_confidence{suffix}": sure}
