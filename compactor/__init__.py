"""Distil big teachers into a small student, export it, prove it fit to ship, and pack it into a bundle.

Everything heavy is imported on first use: `import compactor` loads neither torch nor numpy.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from compactor.version import VERSION as __version__

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as compactor_runtimes does, which is not loaded here

if TYPE_CHECKING:
    from compactor.recipe.load import LoadedRecipe as LoadedRecipe
    from compactor.recipe.load import load_recipe as load_recipe
    from compactor.run.pipeline import RunResult as RunResult
    from compactor.run.pipeline import run_recipe as run_recipe
    from compactor.run.plan import make_plan as make_plan
    from compactor.run.planned import Plan as Plan

_PUBLIC = {
    "LoadedRecipe": "compactor.recipe.load",
    "load_recipe": "compactor.recipe.load",
    "Plan": "compactor.run.planned",
    "make_plan": "compactor.run.plan",
    "RunResult": "compactor.run.pipeline",
    "run_recipe": "compactor.run.pipeline",
}
__all__ = ["LoadedRecipe", "Plan", "RunResult", "__version__", "load_recipe", "make_plan", "run_recipe"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'compactor' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
