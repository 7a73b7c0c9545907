"""Measurement of latency, throughput, start-up and memory in fresh, alternating processes.

The names are imported on first use, because every worker imports this package inside its measured cold start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compactor_runtimes.measure.harness import measure
    from compactor_runtimes.measure.measurement import Candidate, Measurement, Settings

__all__ = ["Candidate", "Measurement", "Settings", "measure"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part = "harness" if name == "measure" else "measurement"
    value = globals()[name] = getattr(import_module(f"{__name__}.{part}"), name)
    return value
