"""Figures of suites that compare training arms: which rate an arm takes, its accuracy, what it gains."""

from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def best_rate(runs: list[Run]) -> float:
    """The learning rate with the highest select accuracy, averaged over the seeds that tried it."""
    found: dict[float, list[float]] = {}
    for run in runs:
        found.setdefault(run["settings"]["lr"], []).append(run["result"]["select_accuracy"])
    return max(sorted(found), key=lambda rate: sum(found[rate]) / len(found[rate]))


def at_rate(runs: list[Run], rate: float) -> "NDArray[np.bool_]":
    """Correctness on the report samples of all runs with a rate: bool [seeds, N]."""
    return right_rows([run["result"]["report_right"] for run in runs if run["settings"]["lr"] == rate])


def right_rows(texts: list[str]) -> "NDArray[np.bool_]":
    """Correctness as runs keep it, a string of 0 and 1 each: bool [runs, N]."""
    import numpy as np

    return np.array([[character == "1" for character in text] for text in texts])


def top1(right: "NDArray[np.bool_]", about: str, *arms: str) -> Figure:
    """Mean accuracy over seeds, with their range; of one seed with its 95% interval."""
    means = right.mean(1)
    if len(means) == 1:
        from compactor_runtimes.stats.metrics import wilson

        low, high = wilson(int(right.sum()), right.size)
        told = f"{about}, one seed, report split"
        return Figure(float(means[0]), "share", right.size, low, high, told, arms=arms)
    return Figure(
        float(means.mean()),
        "share",
        right.shape[1],
        float(means.min()),
        float(means.max()),
        f"{about}, mean and range of {len(means)} seeds, report split",
        arms=arms,
    )


def gain(before: "NDArray[np.bool_]", after: "NDArray[np.bool_]", about: str, *arms: str) -> Figure:
    """Points gained, seed-averaged, with a 95% bootstrap interval over the samples."""
    from compactor_runtimes.stats.metrics import bootstrap_difference

    found = bootstrap_difference(before, after)
    return Figure(
        100 * found.value,
        "points",
        found.n,
        100 * found.low,
        100 * found.high,
        f"{about}, {_seeds(len(before))}, 95% bootstrap over samples",
        arms=arms,
    )


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds averaged"
