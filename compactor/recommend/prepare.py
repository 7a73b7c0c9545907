"""What is known before anything is trained: what is tried, for how long, and at what cost."""

import os
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
from compactor.recommend.candidates import Choice, Wanted, choose, require_left_out
from compactor.recommend.cost import Cost, Pace, before_cost, steps_of, total
from compactor.recommend.halving import Rung, rungs, total_steps
from compactor.recommend.trials import Workbench, with_setting
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.planned import Plan, PlannedStage
from compactor.tasks import task_named
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
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("recommend: runs in one process; start it without torchrun")
    last, data = recipe.stages[-1], DataSets(loaded, reporter)
    task = task_named(recipe.stage_task(last))
    opened = data.open(recipe.stage_data(last), recipe.stage_task(last))
    train, select = (bool((split_labels(task, part) >= 0).any()) for part in (opened.train, opened.select))
    wanted = Wanted(request.methods, request.rates)
    choice = choose(recipe, wanted, labelled_train=train, labelled_select=select)
    choice, plans = plannable(loaded, choice, wanted, runs=runs, data=data)
    folder = RunFolders(runs / recipe.name).root / FOLDER / _key(loaded, request)
    begun = _begun(folder)
    plan = plans[0]
    own, pace, seeds = plan.stages[-1], Pace(loaded), len(request.seeds) or 1
    full_steps = steps_of(own)
    with reporter.bar("time a step", 1):
        step_s = pace.step_s(choice.trials, own)
        before_steps, before_s = before_cost(plan, pace)
        before_s = total([before_s, *(pace.labels_s(one) for one in _stores(plans))])
    budget = begun.budget_steps if begun else _budget(request, full_steps * seeds, step_s)
    schedule = rungs(
        len(choice.trials), budget, full_steps=full_steps, seeds=seeds, least=1 + len(choice.protected)
    )
    steps = total_steps(schedule, seeds=seeds)
    return Prepared(
        loaded=loaded,
        request=request,
        choice=choice,
        schedule=schedule,
        budget_steps=budget,
        cost=Cost(
            trial_steps=steps,
            before_steps=before_steps,
            trial_s=None if step_s is None else step_s * steps,
            before_s=before_s,
        ),
        folder=folder,
        has_begun=begun is not None,
        bench=Workbench(loaded, runs, data, full_steps, reporter, Journal(None)),
    )


def _key(loaded: LoadedRecipe, request: Request) -> str:
    """The same recipe and request lie in the same folder."""
    recipe = msgspec.to_builtins(loaded.recipe)
    return digest_of({"recipe": recipe, "request": msgspec.to_builtins(request)})[:12]


def _begun(folder: Path) -> Begun | None:
    file = folder / BEGUN_FILE
    return msgspec.json.decode(file.read_bytes(), type=Begun) if file.is_file() else None


def plannable(
    loaded: LoadedRecipe, choice: Choice, wanted: Wanted, *, runs: Path, data: DataSets
) -> tuple[Choice, list[Plan]]:
    """Plan each method once, the recipe's own first, and leave out those that data or models refuse.

    Raises:
        UsageError: the recipe's own setting is refused, or a method that the user names.
        UnfitEnvironmentError: a stage cannot run here.
    """
    plans: list[Plan] = []
    refused: dict[str, str] = {}
    own = choice.trials[0]
    for trial in [own, *{one.method: one for one in choice.trials if one.method != own.method}.values()]:
        try:
            plans.append(make_plan(with_setting(loaded, trial), runs, data=data))
        except UsageError as error:
            if trial is own:
                raise
            require_left_out(trial.method, str(error), wanted)
            refused[trial.method] = str(error)
        else:
            plans[-1].require_stages()
    trials = [one for one in choice.trials if one.method not in refused]
    return Choice(trials, [*choice.left_out, *(f"{name}: {why}" for name, why in refused.items())]), plans


def _stores(plans: list[Plan]) -> list[PlannedStage]:
    """A stage for each label store that the trials need."""
    last = [plan.stages[-1] for plan in plans]
    return list({one.labels.digest: one for one in last if one.labels is not None}.values())


def _budget(request: Request, full_steps: int, step_s: float | None) -> int:
    """The budget in steps.

    Raises:
        UsageError: minutes, where nothing tells how long a step takes.
    """
    if request.budget_steps is not None:
        return request.budget_steps
    if request.budget_minutes is None:
        return USUAL_LENGTHS * full_steps
    if step_s is None:
        raise UsageError(
            "--budget-minutes: a bundle: teacher is not timed, so minutes tell no steps; give --budget-steps"
        )
    return int(60 * request.budget_minutes / step_s)
