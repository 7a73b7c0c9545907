"""What is known before anything is trained: what is tried, for how long, and at what cost."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from compactor.cache.digest import digest_of
from compactor.cache.folder import RunFolders
from compactor.cache.journal import Journal
from compactor.evaluation import split_labels
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recommend.candidates import Choice, Wanted, choose
from compactor.recommend.cost import Cost, Counted, counted, probe_flops_per_s
from compactor.recommend.halving import Rung, rungs, total_steps
from compactor.recommend.trials import Workbench
from compactor.run.data import DataSets
from compactor.tasks import task_named
from compactor.trainer.processes import is_main_process
from compactor_runtimes.errors import UsageError

FOLDER = "recommend"  # in the recipe's folder of runs
BEGUN_FILE = "begun.json"
USUAL_LENGTHS = 3  # the budget where none is given, in lengths of the recipe's own training


class Request(Struct, frozen=True, kw_only=True):
    """What the user asks for; without a budget it is USUAL_LENGTHS times the recipe's own training."""

    methods: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    budget_steps: int | None = None
    budget_minutes: float | None = None
    seeds: tuple[int, ...] = ()


class Begun(Struct, frozen=True):
    """The budget of a recommendation that has begun: minutes were turned into steps by a measurement."""

    budget_steps: int


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything is trained. `has_begun`: the same was asked for before."""

    loaded: LoadedRecipe
    request: Request
    choice: Choice
    schedule: list[Rung]
    budget_steps: int
    cost: Cost
    folder: Path
    has_begun: bool
    bench: Workbench

    @property
    def seeds(self) -> list[int | None]:
        """Of the trainings of each setting; None = the recipe's own."""
        return list(self.request.seeds) or [None]


def prepare(loaded: LoadedRecipe, request: Request, *, runs: Path, reporter: Reporter) -> Prepared:
    """Open the data, choose what is tried, share the budget out and measure what a step takes.

    Raises:
        UsageError: the recipe has no stage, nothing can be judged, or the budget is too small.
        UnfitEnvironmentError: a stage cannot run here.
    """
    recipe = loaded.recipe
    if not recipe.stages:
        raise UsageError(f"recipe {loaded.name}: has no stage, so there is no method to recommend; add one")
    if not is_main_process():
        raise UsageError("recommend: runs in one process; start it without torchrun")
    last, data = recipe.stages[-1], DataSets(loaded, reporter)
    task = task_named(recipe.stage_task(last))
    opened = data.open(recipe.stage_data(last), recipe.stage_task(last))
    train, select = (bool((split_labels(task, part) >= 0).any()) for part in (opened.train, opened.select))
    wanted = Wanted(request.methods, request.rates)
    choice = choose(recipe, wanted, labelled_train=train, labelled_select=select)
    folder = RunFolders(runs / recipe.name).root / FOLDER / _key(loaded, request)
    begun = _begun(folder)
    found = counted(loaded, choice, runs=runs, data=data)
    with reporter.bar("time a step", 1):
        flops_per_s = probe_flops_per_s(found.own, base=loaded.base, seed=recipe.seed)
    seeds = len(request.seeds) or 1
    step_s = found.step_seconds(choice.trials, last.batch_size, flops_per_s)
    budget = begun.budget_steps if begun else _budget(request, found, step_s, seeds)
    schedule = rungs(
        len(choice.trials),
        budget,
        full_steps=found.full_steps,
        seeds=seeds,
        least=1 + len(choice.protected),
    )
    steps = total_steps(schedule, seeds=seeds)
    flops = found.flops_before
    return Prepared(
        loaded=loaded,
        request=request,
        choice=choice,
        schedule=schedule,
        budget_steps=budget,
        cost=Cost(
            trial_steps=steps,
            before_steps=found.steps_before,
            trial_s=None if step_s is None else step_s * steps,
            before_s=None if flops is None else flops / flops_per_s,
        ),
        folder=folder,
        has_begun=begun is not None,
        bench=Workbench(loaded, runs, data, found.full_steps, reporter, Journal(None)),
    )


def _key(loaded: LoadedRecipe, request: Request) -> str:
    """The same recipe and request lie in the same folder."""
    recipe = msgspec.to_builtins(loaded.recipe)
    return digest_of({"recipe": recipe, "request": msgspec.to_builtins(request)})[:12]


def _begun(folder: Path) -> Begun | None:
    file = folder / BEGUN_FILE
    return msgspec.json.decode(file.read_bytes(), type=Begun) if file.is_file() else None


def _budget(request: Request, found: Counted, step_s: float | None, seeds: int) -> int:
    """The budget in steps.

    Raises:
        UsageError: minutes, where nothing tells how long a step takes.
    """
    if request.budget_steps is not None:
        return request.budget_steps
    if request.budget_minutes is None:
        return USUAL_LENGTHS * found.full_steps * seeds
    if step_s is None:
        raise UsageError(
            "--budget-minutes: nobody counts the FLOPs of a bundle: teacher, so minutes tell no steps; give "
            "--budget-steps"
        )
    return int(60 * request.budget_minutes / step_s)
