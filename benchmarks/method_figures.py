"""Figures of suite `methods`, computed from its runs: gains over KD, calibration, seconds, and the parts."""

from typing import TYPE_CHECKING, Any

from benchmarks.arm_figures import gain, right_rows, top1
from benchmarks.figures import Figure, Run, spread
from benchmarks.method_arms import ARMS, STEPS
from benchmarks.method_parts import WHAT
from benchmarks.method_peer import TIMED, WHOLE
from benchmarks.paired import Difference, difference, rejected_by_holm, seed_variance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Answers = dict[str, tuple[float, "NDArray[np.bool_]"]]  # arm -> its rate, correctness [seeds, N]

BASELINE = "kd"
# figure -> (before, after)
PAIRS = {
    "lelp_gain": ("two_kd", "two_lelp"),
    "weighted_gain": ("groups_equal", "groups_weighted"),
    "rad_gain": ("asks_uniform", "asks_robust"),
    "rad_gain_over_margin": ("asks_margin", "asks_robust"),
}


def of_table(runs: list[Run], chosen: "Answers") -> dict[str, Figure]:
    """Gains over KD, calibration errors and seconds of training of every arm, and who is ahead."""
    found: dict[str, Figure] = {}
    for name, (rate, answers) in chosen.items():
        mine = [run for run in _of(runs, name) if run["settings"]["lr"] == rate]
        found[f"ece_{name}"] = _mean(
            [run["result"]["ece"] for run in mine],
            "",
            answers.shape[1],
            f"{ARMS[name].what}: calibration error on report, 15 bins",
            name,
        )
        found[f"seconds_{name}"] = spread(
            [run["result"]["train_s"] for run in mine],
            "s",
            f"{ARMS[name].what}: training of {STEPS:,} steps without evaluation",
            arms=(name,),
        )
    if BASELINE not in chosen:
        return found
    base = chosen[BASELINE][1]
    others = {name: answers for name, (_, answers) in chosen.items() if name != BASELINE}
    noise = seed_variance({name: answers for name, (_, answers) in chosen.items()})
    apart = {name: difference(base, answers, seeds_variance=noise) for name, answers in others.items()}
    sure = rejected_by_holm({name: one.p for name, one in apart.items()})
    for name, one in apart.items():
        verdict = ("ahead" if one.value > 0 else "behind") if name in sure else "noise"
        found[f"gain_over_kd_{name}"] = _points(
            one,
            base.shape[1],
            f"{ARMS[name].what} minus KD, {len(others[name])} seeds, 95% with the noise of seeds; after "
            f"Holm over {len(apart)} arms: {verdict}",
            (name, BASELINE),
        )
    if len(others) == len(ARMS) - 1 and all(len(answers) > 1 for answers in others.values()):
        for kind, is_so in (("ahead_of", True), ("behind", False)):
            count = sum(name in sure and (apart[name].value > 0) == is_so for name in apart)
            about = f"of {len(apart)} arms are {'ahead of' if is_so else 'behind'} KD, 95% after Holm"
            found[f"methods_{kind}_kd"] = Figure(count, "", len(apart), count, count, about, arms=tuple(ARMS))
    return found


def of_parts(runs: list[Run]) -> dict[str, Figure]:
    """What single methods bring where they are meant to."""
    found: dict[str, Figure] = {}
    right = {name: answers for name in WHAT if (answers := _right(runs, name)) is not None}
    for name, answers in right.items():
        found[f"top1_{name}"] = top1(answers, WHAT[name], name)
    for figure, (before, after) in PAIRS.items():
        if {before, after} <= right.keys():
            common = min(len(right[before]), len(right[after]))
            about = f"{WHAT[after]}, minus {WHAT[before]}"
            found[figure] = gain(right[before][:common], right[after][:common], about, before, after)
    aligned = [run["result"] for run in _of(runs, "incremental")]
    if aligned:
        before, after = (
            right_rows([one[f"right_{when}"] for one in aligned]) for when in ("before", "after")
        )
        about = "weight aligning: accuracy on all ten classes after minus before the rows are scaled"
        found["wa_gain"] = gain(before, after, about, "incremental")
        for kind in ("old", "new"):
            for when in ("before", "after"):
                found[f"wa_{kind}_{when}"] = _mean(
                    [one[f"{kind}_{when}"] for one in aligned],
                    "share",
                    before.shape[1] // 2,
                    f"accuracy on the {kind} five classes {when} the rows are scaled",
                    "incremental",
                )
    return found


def of_peer(runs: list[Run]) -> dict[str, Figure]:
    """The same training by torchdistill: accuracy of one seed, and seconds over ours, in turn."""
    found: dict[str, Figure] = {}
    for run in _of(runs, WHOLE):
        answers = right_rows([run["result"]["report_right"]])
        about = f"torchdistill's KD: the same student, images, rate and {STEPS:,} steps"
        found["torchdistill_kd_top1"] = top1(answers, about, WHOLE)
    of = {
        name: {run["settings"]["block"]: run["result"]["step_s"] for run in _of(runs, name)} for name in TIMED
    }
    theirs, ours = of[TIMED[0]], of[TIMED[1]]
    if blocks := sorted(theirs.keys() & ours.keys()):
        about = "median seconds a step of torchdistill's KD over ours, live teacher, in turn"
        ratios = [theirs[block] / ours[block] for block in blocks]
        found["torchdistill_seconds_ratio"] = spread(ratios, "", about, arms=TIMED)
    return found


def _points(one: Difference, n: int, about: str, arms: tuple[str, ...]) -> Figure:
    return Figure(100 * one.value, "points", n, 100 * one.low, 100 * one.high, about, arms=arms)


def _mean(values: list[float], unit: str, n: int, about: str, arm: str) -> Figure:
    told = f"{about}, mean and range of {len(values)} seeds"
    return Figure(sum(values) / len(values), unit, n, min(values), max(values), told, arms=(arm,))


def _right(runs: list[Run], name: str) -> "NDArray[np.bool_] | None":
    mine = sorted(_of(runs, name), key=lambda run: int(run["settings"]["seed"]))
    texts = [run["result"]["report_right"] for run in mine if "report_right" in run["result"]]
    return right_rows(texts) if texts else None


def _of(runs: list[Run], name: str) -> list[Any]:
    return [run for run in runs if run["settings"]["arm"] == name]
