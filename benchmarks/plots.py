"""Plots of results: drawn from runs alone, as PNG and SVG, alike each time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Run

MOST_INSIDE = 5  # curves whose names stand in the plot


@dataclass(frozen=True)
class Curve:
    """One arm: `values` [seeds][evaluations] at `seconds` of training."""

    label: str
    seconds: list[float]
    values: list[list[float]]


def arms_over_time(arms: dict[str, list[Run]], what: dict[str, str], path: Path) -> None:
    """Draw select accuracy over training time; `arms` are the runs that were chosen, `what` their names."""
    first = next(iter(arms.values()))[0]
    accuracy_over_time(
        curves_of(arms, what),
        path,
        title=f"CIFAR-10, {first['settings']['limit']['train']:,} images, resnet8, "
        f"{first['result']['steps']:,} steps each",
        about=f"select accuracy (n = {first['result']['select_rows']:,}); mean and range of the seeds",
    )


def curves_of(arms: dict[str, list[Run]], what: dict[str, str]) -> list[Curve]:
    """Each arm's select accuracy over its training time; `what` are the arms' names."""
    curves = []
    for arm, mine in arms.items():
        seconds_a_step = sum(run["result"]["train_s"] / run["result"]["steps"] for run in mine) / len(mine)
        curves.append(
            Curve(
                label=f"{what[arm]} ({len(mine)} seed{'s' if len(mine) > 1 else ''})",
                seconds=[step * seconds_a_step for step, _ in mine[0]["result"]["curve"]],
                values=[[value for _, value in run["result"]["curve"]] for run in mine],
            )
        )
    return curves


def accuracy_over_time(curves: list[Curve], path: Path, *, title: str, about: str) -> None:
    """Draw each arm's mean over seeds with the range as a band; writes `path` and its .svg sibling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": path.stem, "font.size": 10}):
        figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
        for curve in curves:
            by_time = list(zip(*curve.values, strict=True))
            [line] = axes.plot(
                curve.seconds, [sum(some) / len(some) for some in by_time], marker=".", label=curve.label
            )
            axes.fill_between(
                curve.seconds,
                [min(some) for some in by_time],
                [max(some) for some in by_time],
                color=line.get_color(),
                alpha=0.2,
                linewidth=0,
            )
        axes.set(
            xlabel="training time, s (without evaluation)", ylabel="accuracy", title=title, xlim=(0, None)
        )
        axes.grid(alpha=0.3)
        told = {"frameon": False, "title": about, "title_fontsize": "small", "fontsize": "small"}
        fit: dict[str, Any] = {}
        if len(curves) > MOST_INSIDE:
            fit = {"bbox_inches": "tight"}  # a legend may be wider than the axes
            figure.set_size_inches(7.2, 4.2 + 0.2 * len(curves))
            figure.legend(loc="outside lower center", **told)
        else:
            axes.legend(loc="lower right", **told)
        figure.savefig(path, dpi=150, metadata={"Software": None}, **fit)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None}, **fit)
        pyplot.close(figure)


@dataclass(frozen=True)
class Level:
    """An arm's accuracy with its range, at a size of the pool where it has one."""

    label: str
    value: float
    low: float
    high: float
    size: int | None = None


def accuracy_over_pool(
    pooled: list[Level], others: list[Level], path: Path, *, title: str, about: str
) -> None:
    """Draw accuracy against unlabelled images, and levels of arms without any as lines; with a .svg sibling.

    Two levels of one size are drawn beside each other; the line goes through the first of each size.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": path.stem, "font.size": 10}):
        figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
        first = list({one.size: one for one in reversed(pooled)}.values())[::-1]
        axes.plot([one.size for one in first], [one.value for one in first], color="C0", linewidth=1)
        for number, one in enumerate(pooled):
            error = [[one.value - one.low], [one.high - one.value]]
            axes.errorbar(
                one.size, one.value, yerr=error, fmt="o", capsize=4, label=one.label, color=f"C{number}"
            )
        for number, one in enumerate(others):
            color = f"C{len(pooled) + number}"
            axes.axhline(one.value, linestyle="--", color=color, label=one.label)
            axes.axhspan(one.low, one.high, color=color, alpha=0.15, linewidth=0)
        axes.set(xlabel="unlabelled images in the pool", ylabel="accuracy", title=title)
        axes.grid(alpha=0.3)
        axes.legend(loc="best", frameon=False, title=about, title_fontsize="small", fontsize="small")
        figure.savefig(path, dpi=150, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(figure)


def accuracy_of_arms(arms: list[Level], base: Level, path: Path, *, title: str, about: str) -> None:
    """Draw a row for each arm, the best on top, and one arm's range as a band; with a .svg sibling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(arms, key=lambda one: one.value)
    with pyplot.rc_context({"svg.hashsalt": path.stem, "font.size": 10}):
        figure, axes = pyplot.subplots(figsize=(7.2, 1.2 + 0.3 * len(rows)), layout="constrained")
        for height, one in enumerate(rows):
            error = [[one.value - one.low], [one.high - one.value]]
            axes.errorbar(one.value, height, xerr=error, fmt="o", capsize=4, color="C0")
        axes.axvline(base.value, linestyle="--", color="C1", label=base.label)
        axes.axvspan(base.low, base.high, color="C1", alpha=0.15, linewidth=0)
        axes.set_yticks(range(len(rows)), [one.label for one in rows])
        axes.set(xlabel="accuracy", title=title)
        axes.grid(alpha=0.3, axis="x")
        axes.legend(loc="lower right", frameon=False, title=about, title_fontsize="small", fontsize="small")
        figure.savefig(path, dpi=150, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(figure)
