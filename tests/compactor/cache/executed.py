"""Run the stages of a recipe, and print which modules execute functions while one is labelled or trained.

`python -m tests.compactor.cache.executed RECIPE.yaml` -> {stage: {"counted": [...], "executed": [...]}}, and
the same of "labels of STAGE" for the teachers' pass that makes a label store.
Counted are the modules in the stage's code digest and in those of the earlier stages that it refers to, whose
keys enter its own.
"""

import json
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from compactor.cache.code import OWN, code_closure
from compactor.cache.journal import Journal
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import STAGE
from compactor.run import labels, plan, stages

CO_OPTIMIZED = 1  # a function's code has this flag; bodies of modules and classes lack it


def main(path: str) -> dict[str, dict[str, list[str]]]:
    loaded = load_recipe(path)
    own: list[set[str]] = []
    of_labels: list[set[str]] = []
    plan.code_digest = lambda modules, *, alone: str(own.append({*code_closure(modules), *alone}))
    labels.code_digest = lambda modules: str(of_labels.append({*code_closure(modules)}))
    planned = plan.make_plan(loaded, loaded.base / "runs")
    runner = stages.StageRunner(planned, SilentReporter(), Journal(loaded.base / "journal.jsonl"))
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_flags & CO_OPTIMIZED:
            seen.add(frame.f_globals.get("__name__", ""))

    labelled: list[set[str]] = []

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*arguments: Any, **named: Any) -> Any:
            seen.clear()
            threading.setprofile(note)
            sys.setprofile(note)
            try:
                return work(*arguments, **named)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
                if work is make_labels:
                    labelled.append({name for name in seen if name.partition(".")[0] in OWN})

        return watching

    make_labels, stages.train_stage = stages.make_labels, watched(stages.train_stage)
    stages.make_labels = watched(make_labels)
    counted: dict[str, set[str]] = {}
    executed: dict[str, set[str]] = {}
    for stage, modules in zip(planned.stages, own, strict=True):
        runner.run(stage)
        executed[stage.id] = {name for name in seen if name.partition(".")[0] in OWN}
        references = [*stage.teachers, stage.spec.init]
        earlier = [one.removeprefix(STAGE) for one in references if isinstance(one, str)]
        counted[stage.id] = modules.union(*(counted[name] for name in earlier if name in counted))
        own_labels = of_labels.pop(0) if stage.labels is not None else set()
        if labelled:  # stages that want the same labels share a store
            name = f"labels of {stage.id}"
            counted[name] = own_labels.union(*(counted[one] for one in earlier if one in counted))
            executed[name] = labelled.pop()
    return {name: {"counted": sorted(counted[name]), "executed": sorted(executed[name])} for name in executed}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
