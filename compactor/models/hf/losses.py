"""Importing a model of transformers without scipy, which nothing but its losses of object detection needs.

Every model imports the losses of all, six of which import scipy.optimize: hundreds of modules.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from compactor_runtimes.errors import needs_extra

LOSSES = "transformers.loss"
_ALL = f"{LOSSES}.loss_utils"
_TELLS, _NEEDS = "is_scipy_available", "linear_sum_assignment"


def import_losses() -> None:
    """Import transformers' losses before a model does; those that need scipy load it when they are called."""
    with needs_extra("train"):
        from transformers import utils
    if _ALL in sys.modules or find_spec(_ALL) is None or not hasattr(utils, _TELLS):
        return
    is_available = getattr(utils, _TELLS)
    setattr(utils, _TELLS, lambda: False)
    try:
        import_module(_ALL)
    finally:
        setattr(utils, _TELLS, is_available)
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{LOSSES}.") and hasattr(module, _TELLS):
                setattr(module, _TELLS, is_available)
                if is_available():
                    setattr(module, _NEEDS, _assign)


def _assign(*costs: Any, **options: Any) -> Any:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(*costs, **options)
