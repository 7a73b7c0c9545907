"""Train one stage of an order, as a worker does, or each of its processes."""

from dataclasses import replace
from pathlib import Path

import msgspec

from compactor.cache.folder import DONE, STUDENT
from compactor.cache.journal import Journal
from compactor.launch.order import Order, StageOutcome
from compactor.progress import SilentReporter
from compactor.recommend.trials import sealed
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor.run.stages import StageRunner
from compactor_runtimes.errors import CompactorError, InterruptedRun
from compactor_runtimes.files import write_whole


def trained_of(plan: Plan) -> dict[str, Path]:
    """Model folders of a plan's trained stages, by id."""
    return {one.id: one.folder / STUDENT for one in plan.stages if (one.folder / DONE).is_file()}


def train_item(order: Order, number: int, *, writes: bool = True) -> None:
    """Train one stage; what its settings make impossible is told in its outcome, as others can be trained.

    Args:
        order: of stages.
        number: which of them.
        writes: whether this process writes the outcome.
    """
    item = order.items[number]
    plan = make_plan(order.recipes[item.recipe].read(), Path(order.runs))
    stage = next(one for one in plan.stages if one.id == item.stage)
    stage = replace(stage, data=sealed(stage.data)) if order.sealed else stage
    problem = ""
    try:
        StageRunner(plan, SilentReporter(), Journal(None), done=trained_of(plan)).run(stage)
    except InterruptedRun:
        raise
    except CompactorError as error:
        problem = str(error)
    if writes:
        outcome = StageOutcome(str(stage.folder), problem)
        write_whole(order.files()[number], msgspec.json.encode(outcome))
