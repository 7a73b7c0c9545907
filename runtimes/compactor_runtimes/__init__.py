"""Run, verify and measure compactor bundles in a process without torch.

The names below are imported on first use, so `import compactor_runtimes` loads the standard library alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compactor_runtimes.bundle import open_bundle
    from compactor_runtimes.errors import (
        AccuracyGateError,
        CompactorError,
        IntegrityError,
        InterruptedRun,
        MissingDependency,
        NumericGateError,
        PerformanceGateError,
        UnfitEnvironmentError,
        UsageError,
    )
    from compactor_runtimes.golden import verify_bundle
    from compactor_runtimes.model import Model, load
    from compactor_runtimes.postprocess import Embedding, Prediction, Tagging, Understanding
    from compactor_runtimes.slots import Slot

__all__ = [
    "AccuracyGateError",
    "CompactorError",
    "Embedding",
    "IntegrityError",
    "InterruptedRun",
    "MissingDependency",
    "Model",
    "NumericGateError",
    "PerformanceGateError",
    "Prediction",
    "Slot",
    "Tagging",
    "Understanding",
    "UnfitEnvironmentError",
    "UsageError",
    "load",
    "open_bundle",
    "verify_bundle",
]

_MODULES = {
    "load": "model",
    "Model": "model",
    "Embedding": "postprocess",
    "Prediction": "postprocess",
    "Slot": "slots",
    "Tagging": "postprocess",
    "Understanding": "postprocess",
    "open_bundle": "bundle",
    "verify_bundle": "golden",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *__all__})
