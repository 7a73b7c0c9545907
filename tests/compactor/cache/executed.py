"""Run the stages of a recipe, and print which modules of the project execute functions while one is trained.

`python -m tests.compactor.cache.executed RECIPE.yaml` -> {stage: {"counted": [...], "executed": [...]}}.
Counted are the modules in the stage's code digest and in those of the earlier stages that it refers to, whose
keys enter its own.
"""

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from compactor.cache.code import OWN, code_closure
from compactor.cache.journal import Journal
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import STAGE
from compactor.run import plan, stages

CO_OPTIMIZED = 1  # a function's code has this flag; bodies of modules and classes lack it


def main(path: str) -> dict[str, dict[str, list[str]]]:
    loaded = load_recipe(path)
    own: list[set[str]] = []
    plan.code_digest = lambda modules, *, alone: str(own.append({*code_closure(modules), *alone}))
    planned = plan.make_plan(loaded, loaded.base / "runs")
    runner = stages.StageRunner(planned, SilentReporter(), Journal(loaded.base / "journal.jsonl"))
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_flags & CO_OPTIMIZED:
            seen.add(frame.f_globals.get("__name__", ""))

    train_stage = stages.train_stage

    def watched(*arguments: Any, **named: Any) -> Path:
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            return train_stage(*arguments, **named)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    stages.train_stage = watched
    counted: dict[str, set[str]] = {}
    executed: dict[str, set[str]] = {}
    for stage, modules in zip(planned.stages, own, strict=True):
        seen.clear()
        runner.run(stage)
        executed[stage.id] = {name for name in seen if name.partition(".")[0] in OWN}
        references = [*stage.teachers, stage.spec.init]
        earlier = [one.removeprefix(STAGE) for one in references if isinstance(one, str)]
        counted[stage.id] = modules.union(*(counted[name] for name in earlier if name in counted))
    return {name: {"counted": sorted(counted[name]), "executed": sorted(executed[name])} for name in executed}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
