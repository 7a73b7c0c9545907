"""`--seeds`: the same recipe for several seeds, its scores aggregated, one bundle recommended.

The splits do not depend on the seed, so all seeds answer the same report samples. The seed to ship is the one
that is best on select; the report split has no say in it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from compactor.cache.folder import RunFolders
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.run.pipeline import RunResult, run_recipe
from compactor.run.plan import make_plan
from compactor.run.workers import Workers
from compactor_runtimes.errors import InterruptedRun, UsageError
from compactor_runtimes.files import write_whole
from compactor_runtimes.stats.metrics import bootstrap_difference
from compactor_runtimes.stats.predictions import PREDICTIONS_FILE, read_predictions

SEEDS_FILE = "seeds.json"


class SeedsRow(Struct, frozen=True, kw_only=True):
    """One subject's score on `n` report samples for every seed."""

    subject: str
    metric: str
    values: list[float]
    n: int

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return mean(self.values)


class SeedsStep(Struct, frozen=True, kw_only=True):
    """What a step changed: b - a in points, seed-averaged correctness, 95% bootstrap over samples."""

    step: str
    a: str
    b: str
    difference_points: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> Literal["noise", "better", "worse"]:
        """Noise where the interval holds zero."""
        if self.low <= 0 <= self.high:
            return "noise"
        return "better" if self.low > 0 else "worse"


class SeedsResult(Struct, frozen=True, kw_only=True):
    """All seeds together; `runs` and `bundle` are relative to the folder that holds `seeds.json`."""

    recipe: str
    seeds: list[int]
    runs: list[str]
    rows: list[SeedsRow]
    steps: list[SeedsStep]
    best_seed: int
    best_by: str
    bundle: str


@dataclass(frozen=True)
class SeedsRun:
    """The folder of `seeds.json`, what it says, and the run that is best on select."""

    folder: Path
    result: SeedsResult
    best: RunResult


def parse_seeds(text: str) -> list[int]:
    """Read `0,1,2`.

    Raises:
        UsageError: not a list of different whole numbers >= 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise UsageError(f"--seeds: got {text!r}, expected different whole numbers such as 0,1,2")
    return [int(part) for part in parts]


def run_seeds(
    recipe: str,
    overrides: tuple[str, ...],
    seeds: list[int],
    *,
    runs: Path,
    reporter: Reporter,
    prepare: Callable[[LoadedRecipe], LoadedRecipe] = lambda loaded: loaded,
    deadline_s: float | None = None,
    trace: bool = True,
    workers: Workers | None = None,
) -> SeedsRun | None:
    """Run the recipe once for each seed and aggregate; finished stages of earlier tries are reused.

    Args:
        recipe: name or path.
        overrides: `--set` values; the seed is set after them.
        seeds: training seeds.
        runs: folder of all runs.
        reporter: where progress goes.
        prepare: applied to every loaded recipe (a smoke run shrinks it).
        deadline_s: see `run_recipe`.
        trace: see `run_recipe`.
        workers: train all seeds ahead; what is measured is measured here, one seed after the other.

    Returns:
        The result; None in a process of torchrun other than the first.

    Raises:
        UsageError: every seed would give the same student.
        InterruptedRun: stopped; the command that goes on covers all seeds.
    """
    whole = prepare(load_recipe(recipe, overrides))
    if not whole.recipe.stages or whole.recipe.stages[-1].seed is not None:
        why = "its last stage sets its own seed" if whole.recipe.stages else "it has no stage"
        raise UsageError(f"--seeds: every seed would give the same student: {why}; change the recipe")
    results: list[RunResult] = []
    of_seed = {seed: prepare(load_recipe(recipe, (*overrides, f"seed={seed}"))) for seed in seeds}
    if workers is not None:
        workers.train([make_plan(one, runs) for one in of_seed.values()])
    for seed, loaded in of_seed.items():
        reporter.note(f"seed {seed}")
        try:
            result = run_recipe(loaded, runs=runs, reporter=reporter, deadline_s=deadline_s, trace=trace)
        except InterruptedRun as stopped:
            said, _, _ = str(stopped).partition("; go on with: ")
            command = f"{whole.command(runs)} --seeds {','.join(map(str, seeds))}"
            raise InterruptedRun(f"seed {seed}: {said}; go on with: {command}") from None
        if result is not None:
            results.append(result)
    if not results:
        return None
    folder = RunFolders(results[0].folder.parent).new_run(suffix="seeds")
    found = aggregate(seeds, results, folder)
    write_whole(folder / SEEDS_FILE, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return SeedsRun(folder, found, results[seeds.index(found.best_seed)])


def aggregate(seeds: list[int], results: list[RunResult], folder: Path) -> SeedsResult:
    """Put the seeds' reports together; `folder` is what paths are relative to."""
    first = results[0].report
    rows = [
        SeedsRow(
            subject=row.subject,
            metric=row.metric,
            values=[one.report.accuracy[index].value for one in results],
            n=row.n,
        )
        for index, row in enumerate(first.accuracy)
    ]
    figure, values = _select_values(results)
    best = int(np.argmax(values))
    return SeedsResult(
        recipe=first.recipe,
        seeds=seeds,
        runs=[os.path.relpath(one.folder, folder) for one in results],
        rows=rows,
        steps=_steps(results),
        best_seed=seeds[best],
        best_by=figure,
        bundle=os.path.relpath(results[best].bundle, folder),
    )


def _select_values(results: list[RunResult]) -> tuple[str, list[float]]:
    """The headline figure on select at the end of the last stage, for every seed."""
    curves = [one.report.curves[-1] for one in results]
    names = list(curves[0].select)
    if not names:
        return "order (nothing was measured)", [0.0] * len(results)
    return names[0], [curve.select[names[0]][-1] or 0.0 for curve in curves]


def _steps(results: list[RunResult]) -> list[SeedsStep]:
    first = results[0].report
    if not first.labelled or not first.paired:
        return []
    everyone = [read_predictions(one.report_file.with_name(PREDICTIONS_FILE)) for one in results]
    steps = []
    for row in first.paired:
        right = [np.stack([one.correct(name) for one in everyone]) for name in (row.a, row.b)]
        gain = bootstrap_difference(*right)
        steps.append(
            SeedsStep(
                step=row.step,
                a=row.a,
                b=row.b,
                difference_points=100 * gain.value,
                low=100 * gain.low,
                high=100 * gain.high,
                n=gain.n,
            )
        )
    return steps
