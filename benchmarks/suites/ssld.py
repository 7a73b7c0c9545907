"""Does SSLD help, and which part of it? The shipped recipe `cifar10-ssld`, one thing changed in each arm.

CIFAR-10 with 5,000 labelled images and 40,000 without labels. The teacher of all arms (ResNet-20) is trained
here on the 5,000 alone, so that the pool's labels are unknown to it; the published ResNet-56, which has seen
them, teaches one further arm. All students (ResNet-8) take 1,000 steps of 128. Hard labels, KD and SSLD with
the whole pool try two rates with the first seed; the other arms of SSLD take its rate. What is changed in
SSLD is one seed each and compared with the same seed. Of the report split (the 10,000 test images) only the
chosen rates' answers are used.

Beside that: planted near-duplicates in real pools, the speed of `compactor pool build`, and students that
tell sets of labels, with and without a teacher.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.arm_figures import at_rate, best_rate, gain, top1
from benchmarks.arms import score, train
from benchmarks.figures import Figure, Run, spread
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
from benchmarks.ssld_parts import (
    BLOCKS,
    MULTI_LABEL,
    SIZES,
    multi_label_recipe,
    run_build,
    run_copies,
    run_multi_label,
    run_neighbours,
    write_composed,
)

NAME = "ssld"
COMMAND = "make acceptance"
WATCHED = "distil"
SEEDS, RATES = (0, 1, 2), (0.1, 0.2)
TUNED = (*PLAIN, "ssld_40k", *MULTI_LABEL)
BUILD = "pool_build"
COPIES = {f"copies_{size}": size for size in SIZES}
NEIGHBOURS = "neighbours"
TIMED = (BUILD, NEIGHBOURS)
COMPUTES = {
    "": (),
    BUILD: ("compactor.pool.build", "benchmarks.ssld_parts"),
    NEIGHBOURS: ("compactor.pool.neighbours", "benchmarks.ssld_parts"),
    **{name: ("compactor.pool.near_duplicates", "benchmarks.near_duplicates") for name in COPIES},
    **{name: ("benchmarks.ssld_parts", "compactor_runtimes.stats.multi_label") for name in MULTI_LABEL},
}
POOLED = ("ssld_10k", "ssld_polluted")
# one seed each
PARTS = (
    "ssld_soft_ce",
    "ssld_no_stage2",
    "ssld_bn_eval",
    "ssld_polluted_bn_eval",
    "ssld_0",
    "ssld_published",
)
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
    "gain_of_pool": ("ssld_10k", "ssld_40k"),
    "gain_over_no_pool": ("ssld_0", "ssld_40k"),
    "gain_sym_over_soft": ("ssld_soft_ce", "ssld_40k"),
    "gain_stage2": ("ssld_no_stage2", "ssld_40k"),
    "gain_bn_batch": ("ssld_bn_eval", "ssld_40k"),
    "polluted_gain_of_bn_eval": ("ssld_polluted", "ssld_polluted_bn_eval"),
    "gain_over_hard": ("hard", "ssld_40k"),
    "gain_over_kd": ("kd_labelled", "ssld_40k"),
    "gain_of_published_teacher": ("ssld_40k", "ssld_published"),
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Rates with the first seed, then the other seeds at the best one, then what is changed in SSLD."""
    todo: list[dict[str, Any]] = [{"arm": f"copies_{size}"} for size in SIZES]
    todo += [{"arm": name, "block": block} for name in TIMED for block in BLOCKS]
    todo += [_run(arm, rate, SEEDS[0]) for arm in TUNED for rate in RATES]
    for arm in TUNED:
        if (rate := _rate(runs, arm)) is not None:
            todo += [_run(arm, rate, seed) for seed in SEEDS[1:]]
    if (rate := _rate(runs, "ssld_40k")) is not None:
        todo += [_run(arm, rate, seed) for arm in POOLED for seed in SEEDS]
        todo += [_run(arm, rate, SEEDS[0]) for arm in PARTS]
    return todo


def _run(arm: str, rate: float, seed: int) -> dict[str, Any]:
    return {"arm": arm, "lr": rate, "seed": seed}


def arm(settings: dict[str, Any]) -> str:
    """Name the arm of a run."""
    return str(settings["arm"])


def recipe(settings: dict[str, Any]) -> Any:
    """Return the recipe that a run trains, None where it trains nothing."""
    name = settings["arm"]
    if "lr" not in settings:
        return None
    make = multi_label_recipe if name in MULTI_LABEL else training_recipe
    return make(name, settings["lr"], settings["seed"])


def prepare(settings: dict[str, Any]) -> None:
    """Write the images that a run reads and that are not there yet."""
    if settings["arm"] in MULTI_LABEL:
        write_composed()
    if "polluted" in settings["arm"]:
        write_pollution()


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Look for copies, build a pool, or train one student and keep its curve and what it gets right."""
    from compactor.tasks.image_classification import TASK

    name = settings["arm"]
    if name == BUILD:
        return run_build()
    if name == NEIGHBOURS:
        return run_neighbours()
    if name in COPIES:
        return run_copies(COPIES[name])
    if name in MULTI_LABEL:
        return run_multi_label(recipe(settings), NAME)
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
            common = min(len(right[before]), len(right[after]))  # the first seeds of both
            about = f"{WHAT[after]} minus {WHAT[before]}"
            found[name] = gain(right[before][:common], right[after][:common], about, before, after)
    if {"ssld_polluted", "ssld_40k"} <= right.keys():
        lost = gain(right["ssld_polluted"], right["ssld_40k"], "", "ssld_polluted", "ssld_40k")
        about = "upper 95% bound of what is lost where half of the pool is Fashion-MNIST"
        found["pollution_loss_high"] = replace(
            lost, value=lost.high, about=f"{about} ({lost.value:+.2f} points seen)", goal="<= 1.0"
        )
    return found | _of_copies(runs) | _of_builds(runs) | _of_neighbours(runs) | _of_multi_label(runs)


def _of_copies(runs: list[Run]) -> dict[str, Figure]:
    """The lowest recall of a kind at either size, and the larger share of images that are taken wrongly."""
    from compactor_runtimes.stats.metrics import wilson

    found = {size: one for name, size in COPIES.items() for one in _of(runs, name)}
    if len(found) < len(SIZES):
        return {}
    each = [
        (share, kind, size, one["result"]["each"])
        for size, one in found.items()
        for kind, share in one["result"]["recall"].items()
    ]
    share, kind, size, n = min(each)
    low, high = wilson(round(share * n), n)
    about = f"planted copies that are found, the worst of six kinds at the worse size ({kind}, {size} px)"
    figures = {"dedup_recall": Figure(share, "share", n, low, high, about, ">= 0.95", tuple(COPIES))}
    size, worst = max(found.items(), key=lambda item: item[1]["result"]["false_share"])
    wrong, n = len(worst["result"]["false"]), worst["result"]["unplanted"]
    low, high = wilson(wrong, n)
    about = f"unplanted pool images removed that are no true copies, the worse size ({size} px)"
    figures["dedup_false"] = Figure(wrong / n, "share", n, low, high, about, "<= 0.01", tuple(COPIES))
    for size, one in found.items():
        shares = one["result"]["recall"].values()
        figures[f"dedup_recall_{size}"] = Figure(
            sum(shares) / len(shares),
            "share",
            one["result"]["each"] * len(shares),
            min(shares),
            max(shares),
            f"planted copies that are found at {size} px, mean and range of {len(shares)} kinds",
            arms=(f"copies_{size}",),
        )
    return figures


def _of_builds(runs: list[Run]) -> dict[str, Figure]:
    mine = [run["result"] for run in _of(runs, BUILD)]
    if not mine:
        return {}
    about = "decoded images scored by ResNet-20, compared with 15,000 select and report images, and chosen"
    rates = [one["images"] / one["seconds"] for one in mine]
    return {"pool_images_per_s": spread(rates, "images/s", about, arms=(BUILD,))}


def _of_neighbours(runs: list[Run]) -> dict[str, Figure]:
    """How much faster faiss finds neighbours, and what share of a search that is."""
    mine = [run["result"] for run in _of(runs, NEIGHBOURS)]
    searches = [run["result"]["seconds"][1] for run in _of(runs, "copies_32")]
    if not mine or not searches:
        return {}
    ratios = [one["product_s"] / one["faiss_s"] for one in mine]
    shares = [one["product_s"] / searches[0] for one in mine]
    about = "seconds of our product over those of faiss' flat index, the same neighbours"
    of = "seconds of our product over those of a whole search among as many images (copies_32)"
    return {
        "neighbours_over_faiss": spread(ratios, "", about, arms=(NEIGHBOURS,)),
        "neighbours_share": spread(shares, "share", of, arms=(NEIGHBOURS, "copies_32")),
    }


def _of_multi_label(runs: list[Run]) -> dict[str, Figure]:
    """Mean average precision with and without a teacher, and how far torchmetrics' count is from ours."""
    chosen: dict[str, list[Run]] = {}
    for name in MULTI_LABEL:
        if (rate := _rate(runs, name)) is not None:
            mine = [run for run in _of(runs, name) if run["settings"]["lr"] == rate]
            chosen[name] = sorted(mine, key=lambda run: int(run["settings"]["seed"]))
    if len(chosen) < len(MULTI_LABEL):
        return {}
    found = {}
    for name, mine in chosen.items():
        maps = [_map(run) for run in mine]
        rows = mine[0]["result"]["multi_label"]["report"]["rows"]
        about = f"{MULTI_LABEL[name][1]}, lr {mine[0]['settings']['lr']:g} chosen on select: mAP, "
        about += f"mean and range of {len(maps)} seeds, report split"
        mean = sum(maps) / len(maps)
        found[f"map_{name}"] = Figure(mean, "share", rows, min(maps), max(maps), about, arms=(name,))
    pairs = zip(*(chosen[name] for name in MULTI_LABEL), strict=True)
    gains = [100 * (_map(after) - _map(before)) for before, after in pairs]
    about = f"mAP with a teacher minus without, mean and range of {len(gains)} pairs of equal seeds"
    found["multilabel_map_gain"] = Figure(
        sum(gains) / len(gains), "points", rows, min(gains), max(gains), about, arms=tuple(MULTI_LABEL)
    )
    apart = [
        abs(part["map"] - part["map_of_torchmetrics"])
        for mine in chosen.values()
        for run in mine
        for part in run["result"]["multi_label"].values()
    ]
    about = "largest difference between our mAP and torchmetrics' on the same answers"
    found["map_minus_torchmetrics"] = Figure(
        max(apart), "", len(apart), min(apart), max(apart), about, arms=tuple(MULTI_LABEL)
    )
    return found


def _map(run: Run) -> float:
    """Mean average precision on the report split."""
    return float(run["result"]["multi_label"]["report"]["map"])


def plot(runs: list[Run], folder: Path) -> None:
    """Draw accuracy against the size of the pool, the arms without one as lines."""
    from benchmarks.plots import Level, accuracy_over_pool

    found = figures(runs)
    sizes = {"ssld_0": 0, "ssld_10k": POOL // 4, "ssld_40k": POOL, "ssld_polluted": POOL}
    sizes = {name: size for name, size in sizes.items() if f"top1_{name}" in found}
    if len(sizes) < 2:
        return

    def level(name: str, size: int | None = None) -> Level:
        one = found[f"top1_{name}"]
        return Level(WHAT[name], one.value, one.low, one.high, size)

    accuracy_over_pool(
        [level(name, size) for name, size in sizes.items()],
        [level(name) for name in PLAIN if f"top1_{name}" in found],
        folder / f"{NAME}.png",
        title=f"CIFAR-10, {LABELLED:,} labelled images, resnet8, {STEPS:,} steps each",
        about="report accuracy; mean and range of the seeds, 95% interval of one",
    )


def _rate(runs: list[Run], name: str) -> float | None:
    """The rate that an arm tried best with the first seed; None until it has tried all."""
    tried = [run for run in _of(runs, name) if run["settings"]["seed"] == SEEDS[0]]
    return best_rate(tried) if len(tried) == len(RATES) else None


def _of(runs: list[Run], name: str) -> list[Run]:
    return [run for run in runs if run["settings"]["arm"] == name]
