"""Run, verify and measure compactor bundles in a process without torch.

The names below are imported on first use, so `import compactor_runtimes` loads the standard library alone.
Whatever imports ONNX Runtime in a process of ours, or in one that it starts, does so after its telemetry has
been turned off below: with it, an import would write into the home folder and look a host up.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from compactor_runtimes.bundle.open import open_bundle
    from compactor_runtimes.errors import (
        AccuracyGateError,
        CompactorError,
        InputError,
        IntegrityError,
        InterruptedRun,
        MissingDependency,
        NumericGateError,
        PerformanceGateError,
        QueueFullError,
        TimeLimitError,
        UnavailableError,
        UnfitEnvironmentError,
        UsageError,
    )
    from compactor_runtimes.golden.verify import verify_bundle
    from compactor_runtimes.predict.answers.classes import Prediction
    from compactor_runtimes.predict.answers.intent_slots import Understanding
    from compactor_runtimes.predict.answers.labels import LabelSet
    from compactor_runtimes.predict.answers.slots import Tagging
    from compactor_runtimes.predict.answers.vector import Embedding
    from compactor_runtimes.predict.bio import Slot
    from compactor_runtimes.predict.limits import Limits
    from compactor_runtimes.predict.loading import load
    from compactor_runtimes.predict.model import Model

__all__ = [
    "AccuracyGateError",
    "CompactorError",
    "Embedding",
    "InputError",
    "IntegrityError",
    "InterruptedRun",
    "LabelSet",
    "Limits",
    "MissingDependency",
    "Model",
    "NumericGateError",
    "PerformanceGateError",
    "Prediction",
    "QueueFullError",
    "Slot",
    "Tagging",
    "TimeLimitError",
    "UnavailableError",
    "Understanding",
    "UnfitEnvironmentError",
    "UsageError",
    "load",
    "open_bundle",
    "verify_bundle",
]

_MODULES = {
    "load": "predict.loading",
    "Model": "predict.model",
    "Embedding": "predict.answers.vector",
    "LabelSet": "predict.answers.labels",
    "Limits": "predict.limits",
    "Prediction": "predict.answers.classes",
    "Slot": "predict.bio",
    "Tagging": "predict.answers.slots",
    "Understanding": "predict.answers.intent_slots",
    "open_bundle": "bundle.open",
    "verify_bundle": "golden.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from compactor_runtimes.version import version

        return version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *__all__})
